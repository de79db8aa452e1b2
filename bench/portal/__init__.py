"""The page figures. Importing this package sets Django up, so that its modules can import rows at the top."""

import django

django.setup()
