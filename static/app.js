// Keys, open details and the focus across live updates, and one announcement per change. Without it every page still works.
const keysOff = "leoportal.keys.off";
const dialog = document.getElementById("keys");
const keysOn = document.getElementById("keys-on");
const live = document.getElementById("live");
const late = document.getElementById("late");
let waitingFor = "";
let [openBefore, focusBefore] = [[], null];

// A closed dialog keeps the focus for one more frame; nobody types there.
function isTyping(target) {
  return target.closest("input, textarea, select, [contenteditable]") !== null && !dialog.contains(target);
}

function keyed(combination) {
  return [...document.querySelectorAll("[data-key]")].find((element) => element.dataset.key === combination);
}

function follow(element) {
  if (element.matches("a[href]")) {
    element.click();
    return;
  }
  if (element.matches("details")) {
    element.open = true;
  }
  const field = element.querySelector("input:not([type=hidden]):not(:disabled), textarea:not(:disabled)");
  const target = field ?? element.querySelector("summary, h2") ?? element;
  if (!target.matches("input, textarea, a, summary, [tabindex]")) {
    target.tabIndex = -1;
  }
  element.scrollIntoView({ block: "start" });
  target.focus({ preventScroll: true });
}

// The same link or button, or what takes its place, in a part that replaced itself.
function alike(region, wanted) {
  const isAlike = (element) => ["id", "href", "name"].every((key) => element.getAttribute(key) === wanted.getAttribute(key));
  return [...region.querySelectorAll(wanted.tagName)].filter(isAlike);
}

function rows() {
  return [...document.querySelectorAll("[data-row] a.row-link")].filter((link) => link.offsetParent !== null);
}

function moveRow(step) {
  const links = rows();
  const at = links.indexOf(document.activeElement);
  links[Math.min(links.length - 1, Math.max(0, at === -1 ? (step > 0 ? 0 : links.length - 1) : at + step))]?.focus();
}

function moveFile(step) {
  const files = [...document.querySelectorAll("details.file > summary")];
  const at = files.findIndex((summary) => summary === document.activeElement);
  const next = files[at === -1 ? 0 : at + step];
  if (next !== undefined) {
    next.parentElement.open = true;
    next.focus();
    next.scrollIntoView({ block: "start" });
  }
}

function made(tag, content) {
  const element = document.createElement(tag);
  element.append(content);
  return element;
}

function showKeys() {
  const list = dialog.querySelector("dl");
  const found = [...document.querySelectorAll("[data-key]")].map((el) => [el.dataset.key, el.dataset.keyName ?? el.textContent]);
  if (rows().length > 0) {
    found.push(["j / k", "Next and previous row"], ["o", "Open the row"]);
  }
  if (document.querySelector("details.file") !== null) {
    found.push(["] / [", "Next and previous file"]);
  }
  if (document.querySelector("form[data-ctrl-enter]") !== null) {
    found.push(["Ctrl Enter", "Go on with the form"]);
  }
  found.push(["?", "These keys"], ["Esc", "Close"]);
  list.replaceChildren(...found.flatMap(([key, name]) => [made("dt", made("kbd", key)), made("dd", name.trim())]));
  dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    const form = event.target.closest("form[data-ctrl-enter]") ?? document.querySelector("form[data-confirm]");
    if (form !== null) {
      event.preventDefault();
      form.requestSubmit(form.querySelector("[data-go-on]"));
    }
    return;
  }
  const modified = event.ctrlKey || event.metaKey || event.altKey;
  if (modified || isTyping(event.target) || dialog.open || localStorage.getItem(keysOff) !== null) {
    return;
  }
  const combination = waitingFor + event.key;
  waitingFor = event.key === "g" && waitingFor === "" ? "g " : "";
  const element = keyed(combination);
  const own = { "?": showKeys, j: () => moveRow(1), k: () => moveRow(-1), "]": () => moveFile(1), "[": () => moveFile(-1) };
  own.o = () => document.activeElement.matches("a.row-link") && document.activeElement.click();
  if (element !== undefined) {
    event.preventDefault();
    follow(element);
  } else if (Object.hasOwn(own, combination)) {
    event.preventDefault();
    own[combination]();
  }
});

document.getElementById("keys-button")?.addEventListener("click", showKeys);
keysOn.checked = localStorage.getItem(keysOff) === null;
keysOn.addEventListener("change", () =>
  keysOn.checked ? localStorage.removeItem(keysOff) : localStorage.setItem(keysOff, "1"),
);

document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.target.matches("[data-live]")) {
    event.preventDefault();
  }
});
document.addEventListener("htmx:beforeSwap", (event) => {
  openBefore = [...event.target.querySelectorAll("details[open][id]")].map((details) => details.id);
  const at = document.activeElement;
  const isInside = event.target.contains(at) && at !== event.target;
  focusBefore = isInside ? { at, region: event.target.id, index: alike(event.target, at).indexOf(at) } : null;
});
document.addEventListener("htmx:afterSettle", (event) => {
  openBefore.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  const region = focusBefore && document.getElementById(focusBefore.region);
  if (region && document.activeElement === document.body) {
    const found = alike(region, focusBefore.at);
    found[Math.min(focusBefore.index, found.length - 1)]?.focus({ preventScroll: true });
  }
  focusBefore = null;
  const said = event.target.dataset?.announce;
  if (said && said !== live.textContent) {
    live.textContent = said;
  }
});
document.addEventListener("htmx:sendError", () => (late.hidden = false));
document.addEventListener("htmx:responseError", () => (late.hidden = false));
document.addEventListener("htmx:afterOnLoad", () => (late.hidden = true));

document.querySelector(".problem")?.focus();
if (location.hash === "#receipt" || location.hash === "#merged") {
  document.querySelector(location.hash)?.focus();
}
