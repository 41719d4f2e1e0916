"""The Prefect UI in a real browser: a person fills in the form, submits it, and finds the map on the run's page.

Screenshots land in `tests/output`, which git ignores; the README's are made from them.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from pumascale.tasks.demo_source import write_digits
from pumascale.tasks.storage import manifests
from tests.deployments.runs import completed, find, only, read
from tests.deployments.server import ROOT, Server

OUTPUT = ROOT / "tests" / "output"
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,1143",
    # Prefect's page calls home; a name that leads nowhere spares it the wait for an answer.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip


class Browser:
    """What a person does: look for something until it is there, click, type."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def see(self, xpath: str, seconds: float = 60) -> WebElement:
        """The element, once it is visible."""

        def shown(driver: webdriver.Chrome) -> WebElement | None:
            return next((found for found in driver.find_elements(By.XPATH, xpath) if found.is_displayed()), None)

        return WebDriverWait(self.driver, seconds).until(shown, f"{xpath} is not on {self.driver.current_url}")

    def click(self, xpath: str) -> None:
        self.see(xpath).click()

    def fill(self, label: str, text: str) -> None:
        """Type into the field of that label, over what is there."""
        field = self.see(f"//label[starts-with(., '{label}')]/{FIELD}//*[self::input or self::textarea]")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)

    def photograph(self, name: str) -> None:
        """A screenshot from the top of the page."""
        self.driver.execute_script("document.querySelectorAll('*').forEach(one => one.scrollTop = 0)")
        OUTPUT.mkdir(exist_ok=True)
        self.driver.save_screenshot(str(OUTPUT / name))


FIELD = "ancestor::div[contains(@class, 'group')][1]"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "A browser is needed to test the UI: apt-get install --yes chromium"
    assert driver, "Its driver is needed to test the UI: apt-get install --yes chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]:
        options.add_argument(flag)
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield Browser(opened)
    opened.quit()


def test_from_the_form_to_the_map(server: Server, browser: Browser, tmp_path: Path) -> None:
    deployment = find(server, "fit-transform")["id"]
    source, labels = write_digits(str(tmp_path))
    browser.driver.get(f"{server.ui}/v2/deployments/deployment/{deployment}/run")
    browser.fill("source", source)
    browser.fill("workspace", str(tmp_path / "work"))
    browser.click(f"//label[starts-with(., 'labels')]/{FIELD}//button[.='str']")
    browser.fill("labels", labels)
    browser.fill("N Neighbors", "12")
    browser.photograph("form.png")
    browser.click("//button[.='Submit']")
    browser.click("//button[.='View run'] | //a[.='View run']")

    browser.see("//*[.='Running' or .='Completed']")
    run = urlparse(browser.driver.current_url).path.rsplit("/", 1)[-1]
    assert set(completed(server, run).values()) == {"Completed"}
    assert read(server, run)["parameters"]["graph"]["n_neighbors"] == 12
    graph = manifests.read_manifest(str(only(tmp_path, "work/graphs/*")))
    assert graph is not None
    assert graph["parameters"]["n_neighbors"] == 12
    check_picture(browser)


def check_picture(browser: Browser) -> None:
    """By the run page's tab of artifacts to the map; the page is opened anew, as by one who comes back later."""
    browser.driver.refresh()
    browser.see("//*[.='Completed']")
    browser.click("//button[.='Artifacts']")
    browser.see("//a[contains(@href, '/artifacts/') and contains(., 'The map')]")
    browser.photograph("artifacts.png")
    browser.click("//a[contains(@href, '/artifacts/') and contains(., 'The map')]")
    browser.click("//a[contains(@href, '/artifacts/artifact/')]")
    picture = browser.see("//img[starts-with(@src, 'data:image/png;base64,')]")
    assert browser.driver.execute_script("return arguments[0].naturalWidth", picture) > 500
    browser.photograph("run.png")
