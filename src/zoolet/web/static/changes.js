// The page of changes: it adds each change at the end of the list.
"use strict";

(() => {
  const MOST = 1000;
  const KINDS = { created: "Created", deleted: "Deleted", data: "Data set", children: "Children changed",
    missing: "Changes are missing" };
  const box = document.getElementById("changes");
  const list = document.getElementById("list");
  const status = document.getElementById("live");
  const { url, path, recursive } = box.dataset;
  let last = "";
  let since = "";
  let problem = "";
  let dropped = 0;

  function show() {
    const parts = [problem, since ? `Following since ${since}.` : "Loading…"];
    if (dropped) parts.push(`${dropped.toLocaleString("en")} older changes are not shown any more.`);
    const text = parts.filter(Boolean).join(" ");
    if (status.textContent !== text) status.textContent = text;
  }

  function element(kind, className, text) {
    const made = document.createElement(kind);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function value(name, found) {
    const made = element("div", "");
    made.append(element("dt", "", name));
    const shown = element("dd", "");
    if (found.kind === "null") shown.textContent = "null";
    else {
      const text = element("pre", "data");
      text.append(element("bdi", "", found.text));
      shown.append(text);
      const more = found.is_cut ? ", cut" : "";
      shown.append(element("span", "note", `${found.length.toLocaleString("en")} bytes, ${found.kind}${more}`));
    }
    made.append(shown);
    return made;
  }

  function item(change) {
    const made = element("li", "");
    const head = element("p", "head");
    head.append(element("time", "", change.time));
    head.append(element("span", change.kind === "missing" ? "kind missing" : "kind", KINDS[change.kind]));
    if (change.kind !== "missing") {
      const link = element("a", "");
      link.href = `${url}/tree?${new URLSearchParams({ path: change.path })}`;
      link.append(element("bdi", "", change.path));
      head.append(link);
    }
    if (change.version !== null) head.append(element("span", "", `version ${change.version}`));
    if (change.zxid > 0) head.append(element("span", "note", `zxid 0x${change.zxid.toString(16)}`));
    if (change.note) head.append(element("span", "note", change.note));
    made.append(head);
    if (change.old || change.new) {
      const values = element("dl", "values");
      if (change.old) values.append(value("Before", change.old));
      if (change.new) values.append(value("After", change.new));
      made.append(values);
    }
    return made;
  }

  function add(changes) {
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    list.append(...changes.map(item));
    while (list.children.length > MOST) { list.firstChild.remove(); dropped += 1; }
    if (isAtEnd) box.scrollTop = box.scrollHeight;
    show();
  }

  function gap(note) {
    const time = new Date().toISOString().slice(0, 19).replace("T", " ") + " UTC";
    add([{ time, kind: "missing", path, version: null, zxid: -1, note, old: null, new: null }]);
  }

  const live = new Live(
    () => `${url}/changes/live?${new URLSearchParams({ path, recursive, last })}`,
    {
      begin: (news, id) => {
        if (!news.isComplete) gap("The page was not connected for too long.");
        last = id;
      },
      ready: () => {
        since = since || new Date().toISOString().slice(0, 19).replace("T", " ") + " UTC";
        show();
      },
      changes: (news, id) => { last = id; add(news.changes); },
      reset: (news) => gap(news.error),
    },
    (text) => { problem = text; show(); },
    false);
  live.open();
})();
