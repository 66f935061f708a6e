// The tree in the document: it renders only the rows that are visible, and handles keys and clicks.
"use strict";

(() => {
  const ROW_PX = 24;
  // Browsers limit the height of an element: above this height, the scroll bar is scaled.
  const MOST_PX = 8000000;
  const FILTER_MS = 150;

  const tree = document.getElementById("tree");
  const space = document.getElementById("space");
  const area = document.getElementById("rows");
  const filter = document.getElementById("filter");
  const count = document.getElementById("count");
  const note = document.getElementById("note");
  const znode = document.getElementById("znode");
  const url = tree.dataset.url;
  let path = tree.dataset.path;
  let active = 0;
  let first = 0; // the row at the top, which need not be whole
  let scheduled = false;
  let ownScroll = -1;
  const rows = new Rows(url, tree.dataset.root, draw, keep);
  keep.anchor = anchor;
  const again = document.getElementById("again");
  const update = document.getElementById("update");
  const part = new Follow(znode, document.getElementById("news"), again,
    () => show(path, location.href, true));
  const live = new Live(streamAddress, {
    list: (news) => rows.apply(news),
    znode: (news) => { if (news.path === path && part.apply(news)) part.reload(); },
    reset: () => { for (const branch of rows.all()) rows.update(branch); if (!part.isEdited()) part.reload(); },
  }, (text) => { document.getElementById("live").textContent = text; });
  let followed = "";
  let search = location.search; // of the view that the page shows

  const height = () => Math.min(rows.root.total() * ROW_PX, MOST_PX);
  const shown = () => tree.clientHeight / ROW_PX;
  const last = () => Math.max(0, rows.root.total() - shown());

  function draw() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => { scheduled = false; render(); });
  }

  function element(kind, className, text) {
    const made = document.createElement(kind);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function rowElement(row) {
    const { branch, index } = rows.at(row);
    const name = branch.error ? undefined : branch.nameAt(index);
    const made = element("div", "row");
    made.id = "row-" + row;
    made.dataset.row = row;
    made.style.top = (row - first) * ROW_PX + "px";
    made.style.paddingLeft = branch.depth * 12 - 8 + "px";
    made.setAttribute("role", "treeitem");
    made.setAttribute("aria-level", branch.depth);
    if (name === undefined) {
      made.classList.add(branch.error ? "failed" : "waiting");
      made.textContent = branch.error || "Loading…";
      made.title = branch.error;
      if (!branch.error) rows.want(branch, index);
      return made;
    }
    made.setAttribute("aria-setsize", branch.size);
    made.setAttribute("aria-posinset", index + 1);
    made.setAttribute("aria-expanded", branch.open.has(index));
    made.setAttribute("aria-selected", branch.pathOf(name) === path);
    const fold = element("span", "fold", branch.open.has(index) ? "▾" : "▸");
    fold.setAttribute("aria-hidden", "true");
    made.append(fold, element("bdi", "", name));
    return made;
  }

  function render() {
    const total = rows.root.total();
    space.style.height = height() + "px";
    space.style.marginTop = -tree.clientHeight + "px"; // the rows are above it, and as high
    first = Math.min(first, last());
    active = Math.max(0, Math.min(active, total - 1));
    const made = [];
    for (let row = Math.floor(first); row < Math.min(total, first + shown() + 1); row++) {
      const item = rowElement(row);
      if (row === active) item.classList.add("active");
      made.push(item);
    }
    area.replaceChildren(...made);
    if (total && active >= Math.floor(first) && active < first + shown()) {
      tree.setAttribute("aria-activedescendant", "row-" + active);
    } else {
      tree.removeAttribute("aria-activedescendant");
    }
    const root = rows.root;
    count.textContent = root.error ? "" : root.size === null ? "Loading…"
      : root.size.toLocaleString("en") + (root.filter ? " found" : root.size === 1 ? " child" : " children");
    const old = rows.all().filter((branch) => branch.isCurrent === false);
    const sizes = old.filter((branch) => branch.newSize !== null).map((branch) =>
      `${branch.path} has ${branch.newSize.toLocaleString("en")} children now.`);
    const changes = old.length ? ["A list has changed.", ...sizes] : [];
    const text = [root.warning, ...changes].filter(Boolean).join(" ");
    if (note.textContent !== text) note.textContent = text;
    update.hidden = !old.length;
    follow();
  }

  // Follow the lists that have visible rows, and the znode.
  function streamAddress() {
    const fields = new URLSearchParams({ znode: path });
    const shownFields = new URLSearchParams(location.search);
    for (const name of ["view", "offset"]) {
      if (shownFields.get("path") === path && shownFields.get(name)) fields.set(name, shownFields.get(name));
    }
    const branches = new Set([rows.root]);
    for (const row of area.children) branches.add(rows.at(Number(row.dataset.row)).branch);
    for (const branch of [...branches].slice(0, 20)) fields.append("branch", branch.path);
    return `${url}/live?${fields}`;
  }

  function follow() {
    const address = streamAddress();
    if (address === followed) return;
    followed = address;
    live.reopen();
  }

  // Return the visible name of a branch that is nearest to the top, and its index in the branch.
  function anchor(branch) {
    for (const item of area.children) {
      const place = rows.at(Number(item.dataset.row));
      if (place.branch === branch && branch.nameAt(place.index) !== undefined) {
        return { name: branch.nameAt(place.index), index: place.index };
      }
    }
    return { name: "", index: 0 };
  }

  // Move rows with `action`, and let the first visible row that is still there stay where it is.
  function keep(action) {
    const top = Math.floor(first);
    const before = [];
    for (let row = top; row < Math.min(rows.root.total(), top + shown()); row++) before.push(pathAt(row));
    const marked = pathAt(active);
    action();
    if (marked !== null) {
      const row = rows.rowOfPath(marked);
      if (row >= 0) active = row;
    }
    const found = before.findIndex((one) => one !== null && rows.rowOfPath(one) >= 0);
    if (first > 0 && found >= 0) scrollToRow(first + rows.rowOfPath(before[found]) - (top + found));
    else scrollToRow(first);
  }

  update.addEventListener("click", () => {
    for (const branch of rows.all()) if (branch.isCurrent === false) rows.update(branch);
  });

  // Show a row at the top, and put the scroll bar where it belongs.
  function scrollToRow(row) {
    first = Math.max(0, Math.min(row, last()));
    space.style.height = height() + "px";
    const most = height() - tree.clientHeight;
    tree.scrollTop = last() ? (first / last()) * most : 0;
    ownScroll = tree.scrollTop;
    draw();
  }

  function activate(row) {
    active = Math.max(0, Math.min(row, rows.root.total() - 1));
    if (active < first) scrollToRow(active);
    else if (active > first + shown() - 1) scrollToRow(active - shown() + 1);
    else draw();
  }

  tree.addEventListener("scroll", () => {
    if (tree.scrollTop === ownScroll) return;
    ownScroll = -1;
    const most = height() - tree.clientHeight;
    first = most > 0 ? (tree.scrollTop / most) * last() : 0;
    draw();
  });

  function pathAt(row) {
    const { branch, index } = rows.at(row);
    const name = branch.error ? undefined : branch.nameAt(index);
    return name === undefined ? null : branch.pathOf(name);
  }

  // Show the part of a znode. If the page's server does not answer, the browser says so; a page that
  // is `quiet` waits instead.
  async function show(wanted, address, quiet = false) {
    path = wanted;
    draw();
    let text;
    try {
      const response = await fetch(address, { headers: { "X-Part": "znode" } });
      if (response.redirected) { location.assign(address); return; }
      text = await response.text();
    } catch {
      if (!quiet) location.assign(address);
      return;
    }
    // The server has escaped all names and data.
    if (path === wanted) {
      znode.innerHTML = text;
      part.begin();
      document.querySelector("input[name=path]").value = wanted;
    }
  }

  function addressOf(wanted) {
    const fields = { root: rows.root.path, path: wanted };
    if (filter.value) fields.filter = filter.value;
    return `${url}/tree?${new URLSearchParams(fields)}`;
  }

  function open(row) {
    const wanted = pathAt(row);
    if (wanted === null) return;
    const address = addressOf(wanted);
    history.pushState({ path: wanted }, "", address);
    search = location.search;
    show(wanted, address);
  }

  function toggle(row) {
    const { branch, index } = rows.at(row);
    if (branch.open.has(index)) rows.collapse(branch, index);
    else rows.expand(branch, index);
    draw();
  }

  const KEYS = {
    ArrowDown: () => activate(active + 1),
    ArrowUp: () => activate(active - 1),
    PageDown: () => activate(active + Math.floor(shown())),
    PageUp: () => activate(active - Math.floor(shown())),
    Home: () => activate(0),
    End: () => activate(rows.root.total() - 1),
    Enter: () => open(active),
    " ": () => open(active),
    ArrowRight: () => {
      const { branch, index } = rows.at(active);
      if (branch.open.has(index)) activate(active + 1);
      else { rows.expand(branch, index); draw(); }
    },
    ArrowLeft: () => {
      const { branch, index } = rows.at(active);
      if (branch.open.has(index)) rows.collapse(branch, index);
      else if (branch.parent) activate(rows.rowOf(branch.parent, branch.index));
    },
  };

  tree.addEventListener("keydown", (event) => {
    const action = KEYS[event.key];
    if (!action || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    action();
  });

  area.addEventListener("click", (event) => {
    const item = event.target.closest(".row");
    if (!item) return;
    active = Number(item.dataset.row);
    if (event.target.closest(".fold")) toggle(active);
    else open(active);
    draw();
  });

  let timer = 0;
  filter.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      scrollToRow(0);
      rows.filter(filter.value);
      history.replaceState(history.state, "", addressOf(path));
      search = location.search;
    }, FILTER_MS);
  });

  // A fragment, like that of "Skip to the content", is no other view.
  window.addEventListener("popstate", () => { if (location.search !== search) location.reload(); });
  window.addEventListener("resize", draw);

  async function begin() {
    draw();
    if (filter.value) { await rows.filter(filter.value); return; }
    const answer = await rows.fetch(rows.root, 0);
    if (!answer || answer.error) return;
    const place = await rows.reveal(path);
    if (place) activate(rows.rowOf(place.branch, place.index));
  }
  begin();
})();
