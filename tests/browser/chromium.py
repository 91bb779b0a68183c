"""The Chromium that runs the tests; ``python -m tests.browser.chromium`` prints its path."""

from __future__ import annotations

import os
import shutil
import sys

VARIABLE = "GREEKS_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome")

# The lists of an address bar that no test sees: half a second of processor time for each
# window.  The rest are those that Playwright turns off, because the last option counts.
_WITHOUT = (
    "WebUIOmniboxAimPopup",
    "WebUIOmniboxPopup",
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
)
# They keep Chromium from asking other hosts, and from drawing what no test looks at.
ARGUMENTS = (
    f"--disable-features={','.join(_WITHOUT)}",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
)


def find_chromium(environment=os.environ):
    """Return the path of the browser, or `None`."""
    names = [name] if (name := environment.get(VARIABLE)) else NAMES
    path = environment.get("PATH")
    return next(filter(None, (shutil.which(each, path=path) for each in names)), None)


def say_what_is_missing(environment=os.environ):
    """Return a sentence about the browser that was not found."""
    if name := environment.get(VARIABLE):
        return f"{VARIABLE} names {name}, which is no program."
    return (
        f"no Chromium. Debian: apt-get install chromium. Or set {VARIABLE} to its path."
    )


# Read here: a fixture removes our variables from the environment of the tests.
CHROMIUM = find_chromium()
MISSING = say_what_is_missing()


if __name__ == "__main__":
    sys.stdout.write(f"{CHROMIUM or MISSING}\n")
    sys.exit(0 if CHROMIUM else 1)
