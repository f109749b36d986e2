"""Debian's Chromium without a window, driven by Selenium."""

import io
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import axe_core_python
import pytest
from PIL import Image
from selenium import webdriver

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no Chromium: apt-get install chromium chromium-driver",
)
_AXE = Path(axe_core_python.__file__).with_name("axe.min.js")


@contextmanager
def chromium(*, width=1280, height=900):
    """A browser that keeps its console for `console_errors`."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")
    for flag in (*flags, f"--window-size={width},{height}", "--hide-scrollbars"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def console_errors(driver):
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] != "DEBUG"]


def serious_faults(driver):
    """What axe-core finds on the page that is serious or critical, with the first place."""
    driver.execute_script(_AXE.read_text(encoding="utf-8"))
    found = driver.execute_async_script(
        "const done = arguments[0]; axe.run().then((r) => done(r.violations));"
    )
    return [
        (fault["id"], fault["nodes"][0]["html"][:200])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


def dark(driver, on):
    feature = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def keep_picture(driver, name):
    """Keep a picture of what is in sight in the folder $CELLBENCH_SCREENSHOTS, for docs/."""
    picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    assert len(picture.getcolors(2**24)) > 50  # something is to be seen
    folder = os.environ.get("CELLBENCH_SCREENSHOTS")
    if folder:
        picture.save(Path(folder) / f"{name}.webp", quality=80, method=6)
