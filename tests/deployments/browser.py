"""A person at the Prefect UI, in a real browser: looks for something until it is there, clicks, types."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.deployments.server import ROOT

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

        return self._patience(seconds).until(shown, f"{xpath} is not on {self.driver.current_url}")

    def click(self, xpath: str) -> None:
        self._patience().until(lambda _: self.see(xpath).click() or True)

    def _patience(self, seconds: float = 60) -> WebDriverWait:
        # The page draws itself anew while it loads: what was found a moment ago may be another element now.
        return WebDriverWait(self.driver, seconds, ignored_exceptions=[StaleElementReferenceException])

    def fill(self, label: str, text: str) -> None:
        """Type into the field of that label, over what is there, until the text stands in it."""
        field = f"//label[starts-with(., '{label}')]/{FIELD}//*[self::input or self::textarea]"

        def typed(_: webdriver.Chrome) -> bool:
            self.see(field).send_keys(Keys.CONTROL, "a")
            self.see(field).send_keys(text)
            return self.see(field).get_attribute("value") == text

        self._patience().until(typed, f"{label} does not take {text}")

    def photograph(self, name: str) -> None:
        """A screenshot from the top of the page."""
        self.driver.execute_script("document.querySelectorAll('*').forEach(one => one.scrollTop = 0)")
        OUTPUT.mkdir(exist_ok=True)
        assert self.driver.save_screenshot(str(OUTPUT / name))


FIELD = "ancestor::div[contains(@class, 'group')][1]"


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, closed at the end."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "A browser is needed to test the UI: apt-get install --yes chromium"
    assert driver, "Its driver is needed to test the UI: apt-get install --yes chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(opened)
    finally:
        opened.quit()
