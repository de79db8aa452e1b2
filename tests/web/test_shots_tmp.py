import os
import pytest
from playwright.sync_api import sync_playwright
from django.contrib.auth.models import User
from verdicts.models import Verdict
from tests.web.scene import make_scene
@pytest.mark.django_db(transaction=True)
def test_live(live_server, tmp_path, settings):
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]="true"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    scene = make_scene(tmp_path)
    u=User.objects.get(username="plan"); u.set_password("correct horse battery"); u.save()
    p = scene.passing()
    with sync_playwright() as pw:
        b=pw.chromium.launch(executable_path="/usr/bin/chromium",args=["--no-sandbox"])
        page=b.new_context(viewport={"width":1360,"height":900}).new_page()
        page.on("console",lambda m:print("LOG",m.type,m.text)); page.on("pageerror",lambda m:print("ERR",str(m)))
        page.on("response",lambda r:print(r.status,r.url))
        page.goto(live_server.url+"/"); page.fill("#id_login","plan"); page.fill("#id_password","correct horse battery"); page.click("main button[type=submit]")
        page.wait_for_load_state("networkidle")
        print(page.content()[:1500])
        print(page.evaluate("[...document.querySelectorAll('[data-row] a.row-link')].length"))
        page.keyboard.press("j"); print(page.evaluate("document.activeElement.outerHTML"))
        b.close()
