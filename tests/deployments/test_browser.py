"""The Prefect UI in a real browser: a person fills in the form, submits it, and finds the map on the run's page.

Screenshots land in `tests/output`, which git ignores; the README's are made from them.
"""

from contextlib import suppress
from urllib.parse import urlparse

from selenium.common.exceptions import TimeoutException

from pumascale.tasks.demo_source import write_digits
from pumascale.tasks.storage import manifests, urls
from tests.deployments.browser import FIELD, Browser
from tests.deployments.runs import completed, find, made, read
from tests.deployments.server import Server


def test_from_the_form_to_the_map(server: Server, browser: Browser, s3: str) -> None:
    deployment = find(server, "fit-transform")["id"]
    source, labels = write_digits(s3)
    browser.driver.get(f"{server.ui}/v2/deployments/deployment/{deployment}/run")
    browser.fill("source", source)
    browser.fill("workspace", urls.join(s3, "work"))
    browser.click(f"//label[starts-with(., 'labels')]/{FIELD}//button[.='str']")
    browser.fill("labels", labels)
    browser.fill("N Neighbors", "12")
    browser.photograph("form.png")
    submit(browser)
    browser.see("//*[.='Running' or .='Completed']")
    run = urlparse(browser.driver.current_url).path.rsplit("/", 1)[-1]
    assert set(completed(server, run).values()) == {"Completed"}
    assert read(server, run)["parameters"]["graph"]["n_neighbors"] == 12
    graph = manifests.read_manifest(made(s3, "graphs"))
    assert graph is not None
    assert graph["parameters"]["n_neighbors"] == 12
    embedding = made(s3, "embeddings")
    assert manifests.read_manifest(embedding)
    assert urls.is_object(urls.join(embedding, "report.html"))
    check_picture(browser)


def submit(browser: Browser) -> None:
    """Submit the form and go to the run; again, as a person would, where the server said that its database is busy."""
    for _ in range(3):
        browser.click("//button[.='Submit']")
        with suppress(TimeoutException):
            return browser.click("//button[.='View run'] | //a[.='View run']")
    raise TimeoutError("no run was made of the form")


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
