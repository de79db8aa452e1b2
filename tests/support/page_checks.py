"""What every page is held to, looked up in a real browser: structure, names, contrast, size of targets, overflow."""

from __future__ import annotations

from playwright.sync_api import Page

# Returns sentences, one for each thing that is wrong with the page as it is shown now.
_CHECKS = r"""
() => {
  const wrong = [];
  const say = (element, what) => wrong.push(`${what}: ${element.outerHTML.slice(0, 160)}`);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const isShown = (element) => element.checkVisibility({ visibilityProperty: true });
  const root = document.documentElement;

  if (root.scrollWidth > root.clientWidth) {
    const wide = all("body *").filter((e) => isShown(e) && e.getBoundingClientRect().right > root.clientWidth + 1);
    wrong.push(`${root.scrollWidth} px wide in ${root.clientWidth}: ${wide.slice(0, 3).map((e) => e.outerHTML.slice(0, 100)).join(" | ")}`);
  }
  if (all("h1").filter(isShown).length !== 1) wrong.push(`${all("h1").length} h1`);
  if (!root.lang) wrong.push("no language");
  if (!document.title.endsWith("leoportal")) wrong.push(`title ${document.title}`);
  const ids = all("[id]").map((element) => element.id);
  ids.filter((id, at) => ids.indexOf(id) !== at).forEach((id) => wrong.push(`two elements have the id ${id}`));
  for (const attribute of ["aria-describedby", "aria-labelledby", "for"]) {
    all(`[${attribute}]`).forEach((element) => element.getAttribute(attribute).split(/\s+/).forEach((id) => {
      if (document.getElementById(id) === null) say(element, `${attribute} names nobody (${id})`);
    }));
  }
  all("a[href^='#']").forEach((link) => {
    if (link.hash.length > 1 && document.querySelector(link.hash) === null) say(link, "leads nowhere");
  });

  const named = (element) => (element.getAttribute("aria-label") ?? element.innerText ?? "").trim() !== "";
  all("button, a[href], summary").filter(isShown).filter((e) => !named(e)).forEach((e) => say(e, "has no name"));
  all("input:not([type=hidden]), select, textarea").filter(isShown).forEach((field) => {
    if (![...field.labels].some((label) => label.innerText.trim() !== "")) say(field, "has no label");
  });
  all("table").filter(isShown).forEach((table) => {
    if (table.querySelector("th[scope]") === null) say(table, "has no header with a scope");
  });
  all("th").filter((th) => !th.scope).forEach((th) => say(th, "has no scope"));
  all("section, nav, aside").forEach((landmark) => {
    if (!landmark.hasAttribute("aria-label") && !landmark.hasAttribute("aria-labelledby")) say(landmark, "has no name");
  });
  const levels = all("h1, h2, h3, h4").filter(isShown).map((heading) => Number(heading.tagName[1]));
  levels.forEach((level, at) => { if (at > 0 && level > levels[at - 1] + 1) wrong.push(`h${level} follows h${levels[at - 1]}`); });

  all("body *").filter(isShown).forEach((element) => {
    const scrolls = /auto|scroll/.test(getComputedStyle(element).overflowX) && element.scrollWidth > element.clientWidth + 1;
    if (scrolls && element.tabIndex < 0 && !element.matches("textarea, input")) say(element, "scrolls, but not with the keyboard");
    const nested = /auto|scroll/.test(getComputedStyle(element).overflowY) && element.scrollHeight > element.clientHeight + 1;
    if (nested && !element.matches("textarea, select, dialog")) say(element, "hides its end in a scroll of its own");
  });
  all("table.list").filter(isShown).filter((table) => getComputedStyle(table).display === "block").forEach((table) => {
    const card = table.closest(".scroll");
    if (card.scrollWidth > card.clientWidth + 1) say(card, `is cut at ${card.clientWidth} of ${card.scrollWidth} px`);
  });
  all("button, summary, select, textarea, input:not([type=hidden]):not([type=radio]):not([type=checkbox]), nav a, .button")
    .filter(isShown).filter((element) => !element.matches(".unseen")).forEach((element) => {
      const { width, height } = element.getBoundingClientRect();
      if (width < 24 || height < 24) say(element, `is ${Math.round(width)} by ${Math.round(height)} px`);
    });

  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const seen = new Map();
  const rgba = (colour) => {
    if (!seen.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      seen.set(colour, [...canvas.getImageData(0, 0, 1, 1).data].map((value, at) => (at === 3 ? value / 255 : value)));
    }
    return seen.get(colour);
  };
  const over = (top, below) => top.slice(0, 3).map((value, at) => value * top[3] + below[at] * (1 - top[3]));
  const behind = (element) => {
    const layers = [];
    for (let at = element; at !== null; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    const paper = root.matches("[data-dark]") ? [0, 0, 0] : [255, 255, 255];
    return layers.reduceRight((below, layer) => over(layer, below), paper);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const told = new Set();
  all("body *").filter(isShown).forEach((element) => {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== "");
    if (!hasText || element.closest(":disabled, .unseen, .skip:not(:focus), option")) return;
    const style = getComputedStyle(element);
    const below = behind(element);
    const front = over(rgba(style.color), below);
    const [light, dark] = [luminance(front), luminance(below)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const key = `${style.color} on ${below}`;
    if (ratio < least && !told.has(key)) {
      told.add(key);
      say(element, `contrast ${ratio.toFixed(2)}, expected ${least}`);
    }
  });
  return wrong;
}
"""


def problems_of(page: Page) -> list[str]:
    """What is wrong with the page as it is shown now, in this theme and at this width."""
    found: list[str] = page.evaluate(_CHECKS)
    return found
