"""Walks the dashboard in headless Chromium (Debian's chromium, chromium-driver and python3-selenium).

Environment: BASE, SETUP_LINK, CSR (a file), SHOTS (a folder), ENGINE, ZONE (where certbot had its orders). Prints `ok NAME` and `not ok NAME: why`.
"""

import os
import re
import sys
import traceback

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.ui import WebDriverWait

BASE = os.environ["BASE"]
LINK = os.environ["SETUP_LINK"]
SHOTS = os.environ["SHOTS"]
ENGINE = os.environ["ENGINE"]
ZONE = os.environ["ZONE"]
PASSWORD = "violet harbour nine"
failed = False


def browser(script=True):
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--hide-scrollbars", "--force-device-scale-factor=1", "--no-proxy-server",
                     "--disable-background-networking", "--disable-component-update",
                     "--host-resolver-rules=MAP localhost 127.0.0.1"]:
        options.add_argument(argument)
    if not script:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
    driver.set_window_size(1280, 860)
    driver.set_page_load_timeout(60)
    return driver


class Walk:
    def __init__(self, driver, shots=False):
        self.driver = driver
        self.shots = shots

    def go(self, path):
        self.driver.get(BASE + path)

    def one(self, selector):
        return WebDriverWait(self.driver, 20).until(lambda d: d.find_element(By.CSS_SELECTOR, selector))

    def text(self, selector="main"):
        return self.one(selector).text

    def type(self, selector, text):
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def press(self, selector):
        """Presses a button and waits for the page that follows."""
        before = self.one("html")
        self.one(selector).click()
        WebDriverWait(self.driver, 30).until(lambda d: d.find_element(By.CSS_SELECTOR, "html") != before)
        self.one("main")

    def path(self):
        return self.driver.current_url.removeprefix(BASE)

    def shot(self, name, dark=True):
        """The page as a reader sees it, light and dark, in full height."""
        if not self.shots:
            return
        height = self.driver.execute_script("return document.documentElement.scrollHeight") or 860
        width = self.driver.get_window_size()["width"]
        for scheme in ["light", "dark"] if dark else ["light"]:
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                        {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                        {"width": width, "height": min(max(height, 700), 2600), "deviceScaleFactor": 1,
                                         "mobile": width < 600})
            self.driver.save_screenshot(f"{SHOTS}/{name}-{scheme}.png")
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def check(name, holds, why=""):
    global failed
    if holds:
        print(f"ok {name}", flush=True)
    else:
        failed = True
        print(f"not ok {name}: {why}".replace("\n", " ")[:400], flush=True)


def set_up(walk):
    walk.driver.get(LINK)
    secret = LINK.split("#")[1]
    filled = WebDriverWait(walk.driver, 20).until(lambda d: d.find_element(By.ID, "link").get_attribute("value"))
    check("the link's secret is in its field", filled == secret, "another value")
    check("and not in the address any more", "#" not in walk.driver.current_url, walk.driver.current_url)
    walk.shot("setup")
    walk.type("#name", "alice")
    walk.type("#password", PASSWORD)
    walk.type("#repeated", PASSWORD)
    walk.press("form button")
    check("set-up makes the administrator and signs in", "Overview" in walk.text("h1"), walk.text())
    cookie = walk.driver.get_cookie("__Host-chancery")
    check("the cookie is Secure, HttpOnly, Lax and for this host",
          cookie and cookie["secure"] and cookie["httpOnly"] and cookie["sameSite"] == "Lax"
          and cookie["domain"] == "localhost" and cookie["path"] == "/", str(cookie and {**cookie, "value": ""}))
    check("no script sees it", not walk.driver.execute_script("return document.cookie"))


def sign_in(walk, name="alice"):
    walk.go("/certificates")
    walk.type("#name", name)
    walk.type("#password", PASSWORD)
    walk.press("form button")


def sign_out_and_in(walk):
    walk.press(".me form button")
    check("signing out leads to the sign-in page", walk.path().startswith("/sign-in"), walk.path())
    walk.shot("sign-in")
    walk.go("/certificates")
    check("a page without a session leads to sign-in", walk.path().startswith("/sign-in?next="), walk.path())
    walk.type("#name", "alice")
    walk.type("#password", "not the password")
    walk.press("form button")
    check("a wrong password is told", "name or password is wrong" in walk.text(), walk.text())
    walk.type("#password", PASSWORD)
    walk.press("form button")
    check("signing in leads back", walk.path() == "/certificates", walk.path())


def issue(walk):
    csr = open(os.environ["CSR"]).read()
    walk.press("a[href='/certificates/new']")
    walk.type("#csr", "this is no CSR")
    walk.press("button[value=issue]")
    check("a refusal stands at the form", "CSR" in walk.text("[role=alert]"), walk.text())
    field = walk.one("#csr")
    field.clear()
    field.send_keys(csr)
    Select(walk.one("#profile")).select_by_value("tls-server")
    walk.press("button[value=check]")
    check("checking shows what would be issued", "This would be issued" in walk.text(), walk.text())
    walk.shot("new-certificate")
    walk.press("button[value=issue]")
    path = walk.path().split("?")[0]
    check("the certificate has its page", re.fullmatch(r"/certificates/crt_[0-9A-Z]{26}", path) is not None, walk.path())
    text = walk.text()
    for word in ["web.lab.example", "www.lab.example", "extKeyUsage", "valid"]:
        check(f"which shows {word}", word in text, text)
    walk.shot("certificate")
    if walk.shots:
        check("and has copy buttons", walk.driver.find_elements(By.CSS_SELECTOR, ".copy"))
    return path


def find(walk, path):
    walk.go("/certificates")
    walk.type("input[type=search]", "web.lab")
    walk.press(".filter button")
    row = walk.one("tbody tr")
    check("the search finds it", "web.lab.example" in row.text and "alice" in row.text, row.text)
    walk.shot("certificates")
    walk.press("tbody th a")
    check("and leads to it", walk.path() == path, walk.path())


def revoke(walk, path):
    walk.press(f"a[href='{path}/revoke']")
    walk.type("#typed", "another.example")
    walk.press("form button.bad")
    check("another name revokes nothing", "nothing was revoked" in walk.text(), walk.text())
    walk.shot("revoke")
    Select(walk.one("#reason")).select_by_value("superseded")
    walk.type("#typed", "web.lab.example")
    walk.press("form button.bad")
    check("the name revokes it", "Revoked." in walk.text("[role=status]") and "web.lab.example" in walk.text(), walk.text())
    walk.shot("revoked")


def acme(walk):
    walk.go("/orders")
    walk.type("input[type=search]", "mute*")
    walk.press(".filter button")
    check("an order is found by the beginning of its name", f"mute.{ZONE}" in walk.text("tbody"), walk.text())
    walk.press("tbody th a")
    text = walk.text()
    for word in ["In one sentence", "refused the connection", "What the CA saw", "Next:", "dial"]:
        check(f"its page shows {word}", word in text, text)
    course = [cell.text for cell in walk.driver.find_elements(By.CSS_SELECTOR, "td[data-label=What] .is")]
    check("and tells it in its order", course[:4] == ["ordered", "offered", "answered", "resolve"], str(course))
    walk.shot("order-failed")
    walk.press("form[action$='/test'] button")
    text = walk.text()
    check("a test from there says what the CA sees now", "failed" in text and "refused the connection" in text, text)
    walk.shot("challenge-test")
    walk.go("/orders?name=web.localhost")
    check("what was refused is found by its name", "Refused" in walk.text() and "web.localhost" in walk.text("main table"), walk.text())
    walk.shot("orders-refused")
    walk.go(f"/orders?name=shop.{ZONE}")
    walk.press("tbody th a")
    check("an order that went well says so", "valid" in walk.text() and "fetched the certificate" in walk.text(), walk.text())
    walk.shot("order-valid")
    walk.press(".purpose a")
    check("its account shows what was refused", "ops@lab.example" in walk.text("h1") and "web.localhost" in walk.text(), walk.text())
    walk.shot("account")
    walk.go("/directories")
    walk.shot("directories")
    walk.press("tbody th a")
    check("a directory's page has its rules and a test", "Test a name" in walk.text() and "Rules" in walk.text(), walk.text())
    walk.shot("directory")
    walk.type("#test-name", f"shop.{ZONE}")
    walk.press("form[action$='/test'] button")
    check("a name is tested from there", "refused the connection" in walk.text(), walk.text())


PAGES = ["/", "/authorities", "/authorities/tls-1", "/orders", "/accounts", "/tokens", "/eab-keys", "/users", "/me", "/audit",
         "/connect", "/errors/refused", "/nothing-here"]


def look_around(walk):
    for path in PAGES:
        walk.go(path)
        check(f"{path} is a page", walk.one("h1").text != "", walk.text())
        walk.shot({"/": "overview"}.get(path, path.strip("/").replace("/", "-")))
    walk.go("/tokens")
    walk.one("summary").click()
    walk.type("#name", "ci")
    walk.type("#allow_names", "lab.example")
    walk.press("form button.main")
    check("a token's secret is shown once", re.search(r"chy_[0-9a-f]{72}", walk.text()) is not None, walk.text())
    walk.shot("token-made")
    walk.press("a.button[href='/tokens']")
    check("and not again", "chy_" not in walk.text() and "lab.example" in walk.text(), walk.text())
    walk.shot("tokens-list")
    walk.go("/eab-keys")
    walk.one("summary").click()
    walk.type("#name", "cluster")
    walk.type("#allow_names", "lab.example")
    walk.press("form button.main")
    check("an EAB key is shown once", "--eab-hmac-key" in walk.text(), walk.text())
    walk.shot("eab-key-made")


PHONE = 360
# an id or a name in a path: one page of each kind is enough
KIND = re.compile(r"/(?:[a-z]+_[0-9A-Z]{26}|(?<=/authorities/)[a-z0-9-]+|(?<=/errors/)[a-z_]+|(?<=/users/)[^/?]+|(?<=/directories/)[^/?]+)")


def kind_of(path):
    return re.sub(r"(?<=[?&])([^=&]+)=[^&]*", r"\1", KIND.sub("/*", path))


def links(walk):
    """Pages of the dashboard that this one links to; files to save and the API are none."""
    hrefs = walk.driver.execute_script("return [...document.querySelectorAll('a[href]:not([download])')].map(a => a.href)")
    paths = [href.removeprefix(BASE).split("#")[0] for href in hrefs if href.startswith(BASE + "/")]
    files = (".pem", ".der", ".crl", ".json", ".csv", ".txt")
    return [p for p in paths if not p.split("?")[0].endswith(files) and not p.startswith(("/api/v1", "/acme/", "/crl/"))]


def fits_a_phone(walk, starts, shots=()):
    """Every page that can be reached from these fits a screen of 360 pixels, light and dark."""
    walk.driver.set_window_size(500, 900)
    # not as a mobile, whose viewport would grow with what does not fit
    walk.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                {"width": PHONE, "height": 780, "deviceScaleFactor": 1, "mobile": False})
    seen, waiting, wide = set(), list(starts), []
    while waiting:
        path = waiting.pop(0)
        if kind_of(path) in seen:
            continue
        seen.add(kind_of(path))
        for scheme in ["light", "dark"]:
            walk.driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                        {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
            walk.go(path)
            # what is folded away must fit too
            walk.driver.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
            width = walk.driver.execute_script("return document.documentElement.scrollWidth")
            inner = walk.driver.execute_script("return window.innerWidth")
            if width > inner or inner != PHONE:
                wide.append(f"{path} {scheme}: {width} of {inner}")
            if walk.shots and kind_of(path) in shots:
                walk.driver.save_screenshot(f"{SHOTS}/phone{kind_of(path).replace('/', '-').replace('*', 'one')}-{scheme}.png")
        waiting += links(walk)
    walk.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    walk.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    walk.driver.set_window_size(1280, 860)
    return seen, wide


# kinds of pages of somebody who is signed in; a page that is added is found by the links
KINDS = ["/", "/authorities", "/authorities/*", "/certificates", "/certificates/*", "/orders", "/orders/*", "/accounts",
         "/accounts/*", "/directories", "/directories/*", "/eab-keys", "/tokens", "/users", "/users/*", "/me", "/audit",
         "/certificates/new", "/certificates/*/revoke", "/connect", "/api/docs", "/errors", "/errors/*", "/nothing-here"]


def phones(walk):
    shots = {"/", "/connect", "/orders/*", "/authorities/*", "/certificates/*"}
    walk.go("/certificates?status=valid")
    valid = next(path for path in links(walk) if path.startswith("/certificates/crt_"))
    seen, wide = fits_a_phone(walk, [*PAGES, f"{valid}/revoke"], shots)
    missing = [kind for kind in KINDS if kind not in seen]
    check("every kind of page was looked at", not missing, f"{missing} are not among {sorted(seen)}")
    check(f"{len(seen)} kinds of pages fit a phone", not wide, "; ".join(wide))


def phones_without_a_session(walk):
    walk.driver.delete_all_cookies()
    _, wide = fits_a_phone(walk, ["/sign-in", "/setup", "/sign-in-link", "/connect", "/errors/refused"])
    check("pages without a session fit a phone", not wide, "; ".join(wide))


def nothing_was_blocked(walk):
    """A page that breaks its own policy or asks for a file that is not there says so in the console."""
    lines = [e["message"] for e in walk.driver.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
    # refusals that the walk asked for are answers with an error status
    lines = [l for l in lines if "the server responded with a status of 4" not in l]
    check("the console has no complaint", not lines, "; ".join(lines))


def without_script(walk):
    sign_in(walk)
    check("without JavaScript: sign-in works", walk.path() == "/certificates", walk.path())
    path = issue(walk)
    check("without JavaScript: there are no copy buttons", not walk.driver.find_elements(By.CSS_SELECTOR, ".copy"))
    find(walk, path)
    revoke(walk, path)


def main():
    driver = browser()
    try:
        walk = Walk(driver, shots=ENGINE == "sqlite")
        set_up(walk)
        sign_out_and_in(walk)
        path = issue(walk)
        find(walk, path)
        revoke(walk, path)
        acme(walk)
        look_around(walk)
        phones(walk)
        phones_without_a_session(walk)
        nothing_was_blocked(walk)
    finally:
        driver.quit()
    driver = browser(script=False)
    try:
        without_script(Walk(driver))
    finally:
        driver.quit()


try:
    main()
except Exception:
    traceback.print_exc()
    sys.exit(1)
sys.exit(1 if failed else 0)
