# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page looks like in a browser: what sticks out, what it asks for, what it says went wrong."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

# Texts that stick out of the boxes they stand in, of the pictures that are shown.
STICKING_OUT = """
return [...document.querySelectorAll('.picture')].filter(one => one.getBoundingClientRect().width).flatMap(picture =>
  [...picture.querySelectorAll('.box')].flatMap(box => {
    const edge = box.querySelector('rect').getBoundingClientRect();
    return [...box.querySelectorAll('text')].filter(text => {
      const own = text.getBoundingClientRect();
      return own.right > edge.right + 1 || own.bottom > edge.bottom + 1;
    }).map(text => text.textContent);
  }))
"""
SHOWN_PICTURES = """
return [...document.querySelectorAll('.picture')].filter(one => one.getBoundingClientRect().height > 100).map(one => one.className)
"""
# Texts of a picture that stands alone which cover each other, and those that are not all within it.
COVERED = """
const texts = [...document.querySelectorAll('text')].map(one => [one.textContent, one.getBoundingClientRect()]);
const covered = (one, other) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
return texts.flatMap(([text, edge], place) =>
  texts.slice(place + 1).filter(other => covered(edge, other[1])).map(other => `${text} / ${other[0]}`))
"""
OUTSIDE = """
const room = document.documentElement.getBoundingClientRect();
return [...document.querySelectorAll('text')].filter(one => {
  const own = one.getBoundingClientRect();
  return own.left < room.left || own.right > room.right || own.top < room.top || own.bottom > room.bottom;
}).map(one => one.textContent)
"""
WIDTHS = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
REQUESTS = "return performance.getEntriesByType('resource').map(one => one.name)"
BROKEN_ANCHORS = """
return [...document.querySelectorAll('a[href^="#"]')].map(one => one.getAttribute('href').slice(1))
  .filter(one => !document.getElementById(one))
"""
LINKS = "return [...document.querySelectorAll('a[href]')].map(one => one.getAttribute('href')).filter(one => !one.startsWith('#'))"


def faults(browser: t.Any, page: Path, width: int, screenshot: Path | None = None, media: str = "screen") -> list[str]:
    """What is wrong with a page at a width in pixels, on a screen or in print; an empty list if nothing is."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})
    browser.get(page.as_uri())
    found = []
    wide, room = browser.execute_script(WIDTHS)
    if wide > room:
        found.append(f"{wide} pixels wide where there are {room}")
    pictures = browser.execute_script(SHOWN_PICTURES)
    if len(pictures) != 1:
        found.append(f"pictures: {pictures}")
    found += [f"sticks out: {one}" for one in browser.execute_script(STICKING_OUT)]
    found += [f"asks for {one}" for one in browser.execute_script(REQUESTS)]
    found += [f"leads nowhere: #{one}" for one in browser.execute_script(BROKEN_ANCHORS)]
    found += [f"says {one['message']}" for one in browser.get_log("browser")]
    if screenshot:
        height = browser.execute_script("return document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        screenshot.write_bytes(base64.b64decode(taken["data"]))
    return found


def unreadable(browser: t.Any, picture: Path, screenshot: Path) -> list[str]:
    """The texts of an SVG file that cannot be read."""
    browser.get(picture.as_uri())
    browser.save_screenshot(str(screenshot))
    return browser.execute_script(COVERED) + browser.execute_script(OUTSIDE)


def printed(browser: t.Any) -> bytes:
    """The page that is open as a PDF."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    made = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    return base64.b64decode(made["data"])
