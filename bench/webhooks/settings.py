"""The portal's settings with two more addresses, answered as early as the portal's own."""

from leoportal.settings import *  # noqa: F403  Django reads every setting from one module
from leoportal.settings import MIDDLEWARE as PORTAL

MIDDLEWARE = ["bench.webhooks.rivals.RivalsMiddleware", *PORTAL]
