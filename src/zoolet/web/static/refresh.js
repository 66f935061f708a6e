// Fetches parts of a page again. How to use it:
//
//   {% block scripts %}<script src="{{ base }}/static/refresh.js" defer></script>{% endblock %}
//   {% include "refresh.html" %}    the button "Pause updates", and the line that reports problems
//   <section id="figures" data-refresh="URL" data-seconds="5">{% include "figures.html" %}</section>
//
// Every 5 seconds it sends GET URL with the header `X-Part: figures` (the value of data-part, or else
// the id). The answer is the HTML inside the element: render "figures.html" alone if the header is
// there. An answer that begins with <!DOCTYPE is an error page and is not shown.
//
// The elements that are there stay and get new texts and attributes. So the focus, open <details>,
// scroll positions, selections and fields of forms stay too. Give the rows of a list that grows an
// id or `data-key`: then a row keeps its element when others come before it.
//
// It stops while the page is hidden, while it is paused, and after a logout. A part never waits for
// another part. After a change by a script, call `refreshNow(element)`.
"use strict";

(() => {
  const MOST_WAIT_MS = 20000;
  const timers = new Map(); // of each element: the timer of its next request
  const failed = new Map(); // of each element that could not be fetched: why
  let isPaused = false;
  let isOver = false;

  const keyOf = (node) => node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || "" : "";
  const isSame = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName
    && keyOf(one) === keyOf(other);

  function updateAttributes(here, fresh) {
    for (const { name, value } of [...fresh.attributes]) {
      if (name === "open" || name === "checked" || name === "selected") continue; // the user's
      if (here.getAttribute(name) !== value) here.setAttribute(name, value);
    }
    for (const { name } of [...here.attributes]) {
      if (name !== "open" && !fresh.hasAttribute(name)) here.removeAttribute(name);
    }
  }

  function update(here, fresh) {
    if (here.nodeType !== Node.ELEMENT_NODE) {
      if (here.nodeValue !== fresh.nodeValue) here.nodeValue = fresh.nodeValue;
      return;
    }
    updateAttributes(here, fresh);
    updateChildren(here, fresh);
  }

  function updateChildren(here, fresh) {
    const wanted = new Set([...fresh.childNodes].map(keyOf).filter(Boolean));
    const keyed = new Map([...here.childNodes].filter(keyOf).map((node) => [keyOf(node), node]));
    let at = here.firstChild;
    for (const next of [...fresh.childNodes]) {
      // Elements that have ended go first, so that those after them need not move.
      while (at && keyOf(at) && !wanted.has(keyOf(at))) {
        const ended = at;
        at = at.nextSibling;
        ended.remove();
      }
      const found = keyOf(next) ? keyed.get(keyOf(next)) : at;
      if (found && found.parentNode === here && isSame(found, next)) {
        if (found === at) at = at.nextSibling;
        else here.insertBefore(found, at);
        update(found, next);
      } else {
        here.insertBefore(document.importNode(next, true), at);
        if (at && !keyOf(at) && !keyOf(next)) {
          const replaced = at;
          at = at.nextSibling;
          replaced.remove();
        }
      }
    }
    while (at) {
      const ended = at;
      at = at.nextSibling;
      ended.remove();
    }
  }

  // Put new content into an element, and the focus and the selection back where they were.
  function show(element, html) {
    const fresh = document.createElement("template");
    fresh.innerHTML = html; // the server has escaped all names and data
    const focused = document.activeElement;
    const selection = document.getSelection();
    const range = selection.rangeCount && !selection.isCollapsed ? selection.getRangeAt(0) : null;
    const kept = range && [range.startContainer, range.startOffset, range.endContainer, range.endOffset];
    updateChildren(element, fresh.content);
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    if (kept && kept[0].isConnected && kept[2].isConnected) {
      const most = (node) => node.nodeType === Node.TEXT_NODE ? node.length : node.childNodes.length;
      selection.setBaseAndExtent(kept[0], Math.min(kept[1], most(kept[0])),
        kept[2], Math.min(kept[3], most(kept[2])));
    }
  }

  function report() {
    const place = document.querySelector("[data-refresh-status]");
    if (!place) return;
    const reasons = [...failed].filter(([element]) => element.isConnected).map(([, reason]) => reason);
    const text = reasons.length ? reasons[0] : isPaused ? "Updates are paused." : "";
    if (place.textContent !== text) place.textContent = text;
    place.classList.toggle("error", reasons.length > 0);
  }

  const now = () => new Date().toISOString().slice(11, 19) + " UTC";

  async function fetchPart(element) {
    const url = element.dataset.refresh;
    let response;
    let text;
    try {
      response = await fetch(url, {
        headers: { "X-Part": element.dataset.part || element.id },
        signal: AbortSignal.timeout(MOST_WAIT_MS),
      });
      text = await response.text();
    } catch {
      failed.set(element, failed.get(element)
        || `The page does not answer since ${now()}. The values are old. Is zoolet web running?`);
      return;
    }
    if (response.redirected || response.status === 401) {
      isOver = true;
      failed.set(element, "The page asks for a login: load it again.");
    } else if (/^\s*<!doctype/i.test(text) || !(response.headers.get("content-type") || "").startsWith("text/html")) {
      failed.set(element, failed.get(element)
        || `The page answers with the error ${response.status} since ${now()}. The values are old.`);
    } else {
      failed.delete(element);
      if (element.isConnected && url === element.dataset.refresh) show(element, text);
    }
  }

  const mayFetch = () => !isPaused && !isOver && document.visibilityState === "visible";

  async function refresh(element) {
    clearTimeout(timers.get(element));
    timers.set(element, 0); // a request is on its way
    await fetchPart(element);
    report();
    if (element.isConnected) plan(element);
    else { timers.delete(element); failed.delete(element); }
  }

  function plan(element) {
    const wait_ms = Math.max(1, Number(element.dataset.seconds) || 5) * 1000;
    timers.set(element, setTimeout(() => {
      if (mayFetch()) refresh(element);
      else timers.set(element, null); // `resume` fetches it
    }, wait_ms));
  }

  // Find the parts, also those that have come with another part.
  function resume() {
    for (const element of document.querySelectorAll("[data-refresh]")) {
      if (!timers.has(element)) plan(element);
      else if (timers.get(element) === null && mayFetch()) refresh(element);
    }
  }

  window.refreshNow = (element) => { if (timers.get(element) !== 0 && !isOver) refresh(element); };

  document.addEventListener("visibilitychange", resume);
  new MutationObserver(resume).observe(document.body, { childList: true, subtree: true });
  for (const button of document.querySelectorAll("[data-refresh-pause]")) {
    button.disabled = false;
    button.addEventListener("click", () => {
      isPaused = !isPaused;
      button.setAttribute("aria-pressed", String(isPaused));
      report();
      resume();
    });
  }
  resume();
})();
