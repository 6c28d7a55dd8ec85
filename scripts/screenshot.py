"""results/screenshots/report.png: the page of results/ as a browser shows it, its Figure 2.

Needs Chromium and Playwright; run `make report` first.

    python scripts/screenshot.py
"""

import argparse
import shutil
import sys
from pathlib import Path

PAGE = Path("results/report.html")
SHOWN = "#figure-cifar10_learning_rate-quick"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


def main(arguments: list[str] | None = None) -> int:
    """Take the screenshot, and return the exit status."""
    raw = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=raw).parse_args(arguments)
    from playwright.sync_api import sync_playwright  # help needs none

    browser = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if browser is None or not PAGE.is_file():
        missing = "Chromium" if browser is None else f"{PAGE}: run make report"
        print(f"error: no {missing}", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox"], timeout=120_000
        ).new_page(viewport={"width": 1100, "height": 900})
        window.set_default_timeout(120_000)
        window.goto(PAGE.resolve().as_uri())
        window.locator(SHOWN).scroll_into_view_if_needed()
        window.wait_for_selector(f"{SHOWN}[data-drawn]")
        path = Path("results/screenshots/report.png")
        window.locator(SHOWN).screenshot(path=path)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
