// Keys, open details and the focus across live updates, and one announcement per change. Without it every page still works.
const keysOff = "leoportal.keys.off";
const dialog = document.getElementById("keys");
const keysOn = document.getElementById("keys-on");
const live = document.getElementById("live");
const late = document.getElementById("late");
let waitingFor = "";
let openBefore = [];
let focusBefore = null;

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

// Where the focus is inside a part that is about to be replaced: the same link, or the same one of what looks alike.
function likeness(element) {
  return [element.tagName, element.id, element.getAttribute("href"), element.getAttribute("name")].join(" ");
}

function alike(region, wanted) {
  return [...region.querySelectorAll("a, button, summary, input, select, textarea, [tabindex]")].filter(
    (element) => likeness(element) === wanted,
  );
}

function placeOfFocus(region) {
  const at = document.activeElement;
  if (at === region || !region.contains(at)) {
    return null;
  }
  return { region: region.id, wanted: likeness(at), index: alike(region, likeness(at)).indexOf(at) };
}

function focusAgain(place) {
  const region = document.getElementById(place.region);
  if (region === null || document.activeElement !== document.body) {
    return;
  }
  const found = alike(region, place.wanted);
  const next = found[Math.min(place.index, found.length - 1)] ?? region;
  if (next === region) {
    region.tabIndex = -1;
  }
  next.focus({ preventScroll: true });
}

function rows() {
  return [...document.querySelectorAll("[data-row] a.row-link")].filter((link) => link.offsetParent !== null);
}

function moveRow(step) {
  const links = rows();
  if (links.length === 0) {
    return;
  }
  const at = links.indexOf(document.activeElement);
  links[Math.min(links.length - 1, Math.max(0, at === -1 ? (step > 0 ? 0 : links.length - 1) : at + step))].focus();
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
  list.replaceChildren(
    ...found.flatMap(([key, name]) => {
      const term = document.createElement("dt");
      const meaning = document.createElement("dd");
      term.append(Object.assign(document.createElement("kbd"), { textContent: key }));
      meaning.textContent = name.trim();
      return [term, meaning];
    }),
  );
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
keysOn.addEventListener("change", () => {
  if (keysOn.checked) {
    localStorage.removeItem(keysOff);
  } else {
    localStorage.setItem(keysOff, "1");
  }
});

document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.target.matches("[data-live]")) {
    event.preventDefault();
  }
});
document.addEventListener("htmx:beforeSwap", (event) => {
  openBefore = [...event.target.querySelectorAll("details[open][id]")].map((details) => details.id);
  focusBefore = placeOfFocus(event.target);
});
document.addEventListener("htmx:afterSettle", (event) => {
  openBefore.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  if (focusBefore !== null) {
    focusAgain(focusBefore);
    focusBefore = null;
  }
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
