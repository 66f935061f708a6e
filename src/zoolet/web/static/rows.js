// The rows of the tree: which znode is in which row. It fetches names page by page, and keeps only
// the pages near the last ones that were shown. It knows nothing of the document.
"use strict";

const PAGE_ROWS = 200;
const MOST_PAGES = 50;

class Branch {
  // The children of an expanded znode. `size` is null until the first page has arrived.
  constructor(path, depth, parent, index) {
    Object.assign(this, { path, depth, parent, index });
    this.pages = new Map();
    this.pending = new Set();
    this.open = new Map();
    this.past = [];
    this.clear();
  }

  clear() {
    this.pages.clear();
    this.pending.clear();
    this.open.clear();
    this.list = "";
    this.filter = "";
    this.size = null;
    this.error = "";
    this.warning = "";
    this.isCurrent = true;
    this.newSize = null; // of a list that is longer than the one that is shown
    this.epoch = (this.epoch || 0) + 1;
  }

  // A branch that waits or has failed has one row, which says so.
  own() {
    return this.error || this.size === null ? 1 : this.size;
  }

  total() {
    let total = this.own();
    for (const child of this.open.values()) total += child.total();
    return total;
  }

  opened() {
    return [...this.open.values()].sort((one, other) => one.index - other.index);
  }

  nameAt(index) {
    const page = this.pages.get(Math.floor(index / PAGE_ROWS));
    return page && page[index % PAGE_ROWS];
  }

  pathOf(name) {
    return this.path === "/" ? "/" + name : this.path + "/" + name;
  }
}

class Rows {
  // `keep` runs a function that moves rows, and lets the visible rows stay where they are.
  constructor(url, root, changed, keep) {
    this.url = url;
    this.changed = changed;
    this.keep = keep;
    this.root = new Branch(root, 1, null, 0);
  }

  // Return what is in a row: its branch and the index of the child in it.
  at(row) {
    let branch = this.root;
    for (;;) {
      let deeper = null;
      for (const child of branch.opened()) {
        if (row <= child.index) break;
        const size = child.total();
        if (row <= child.index + size) {
          deeper = child;
          row -= child.index + 1;
          break;
        }
        row -= size;
      }
      if (!deeper) return { branch, index: row };
      branch = deeper;
    }
  }

  // Return the row of a child of a branch.
  rowOf(branch, index) {
    let row = index;
    for (const child of branch.opened()) if (child.index < index) row += child.total();
    return branch.parent ? this.rowOf(branch.parent, branch.index) + 1 + row : row;
  }

  expand(branch, index) {
    const name = branch.nameAt(index);
    if (name === undefined) return null;
    if (!branch.open.has(index)) {
      const child = new Branch(branch.pathOf(name), branch.depth + 1, branch, index);
      branch.open.set(index, child);
      this.fetch(child, 0);
    }
    return branch.open.get(index);
  }

  collapse(branch, index) {
    branch.open.delete(index);
    this.changed();
  }

  filter(text) {
    this.root.clear();
    this.root.filter = text;
    return this.fetch(this.root, 0);
  }

  // Fetch the page with a child, unless it is here or on its way.
  want(branch, index) {
    const page = Math.floor(index / PAGE_ROWS);
    if (branch.nameAt(index) === undefined && !branch.pending.has(page)) this.fetch(branch, page);
  }

  async fetch(branch, page, find = "") {
    const epoch = branch.epoch;
    branch.pending.add(page);
    const answer = await this.ask(branch, page * PAGE_ROWS, branch.list, find);
    if (branch.epoch !== epoch) return null;
    branch.pending.delete(page);
    if (answer.error) {
      branch.error = answer.error;
      branch.open.clear();
    } else if (branch.list && branch.list !== answer.list) {
      // The list has changed meanwhile. The answer may also be older than the list.
      if (!branch.past.includes(answer.list)) await this.update(branch, answer.list);
    } else {
      branch.list = answer.list;
      branch.size = answer.total;
      branch.warning = answer.warning;
      branch.isCurrent = answer.isCurrent;
      branch.pages.set(Math.floor(answer.start / PAGE_ROWS), answer.names);
      if (branch.pages.size > MOST_PAGES) {
        for (const key of branch.pages.keys()) {
          if (key !== page) { branch.pages.delete(key); break; }
        }
      }
    }
    this.changed();
    return answer;
  }

  async ask(branch, start, list, find, count = PAGE_ROWS) {
    const fields = { path: branch.path, start, count, list };
    if (branch.filter) fields.filter = branch.filter;
    if (find) fields.find = find;
    try {
      const response = await fetch(`${this.url}/children?${new URLSearchParams(fields)}`, {
        headers: { Accept: "application/json" },
      });
      return await response.json();
    } catch {
      return { error: "The page does not answer. Is zoolet web running?" };
    }
  }

  // Return the branch of an expanded znode; null if it is not expanded.
  branchOf(path, branch = this.root) {
    if (branch.path === path) return branch;
    for (const child of branch.open.values()) {
      if (child.path === path || path.startsWith(child.path + "/")) return this.branchOf(path, child);
    }
    return null;
  }

  // Return all branches.
  all(branch = this.root) {
    return [branch, ...[...branch.open.values()].flatMap((child) => this.all(child))];
  }

  // Return the row of a path whose name is known; -1 if it is not.
  rowOfPath(path) {
    const end = path.lastIndexOf("/");
    const branch = this.branchOf(path.slice(0, end) || "/");
    if (!branch) return -1;
    const name = path.slice(end + 1);
    for (const [page, names] of branch.pages) {
      const at = names.indexOf(name);
      if (at >= 0) return this.rowOf(branch, page * PAGE_ROWS + at);
    }
    return -1;
  }

  // A list has changed: apply the differences, or load the list again, or say that it has changed.
  apply(news) {
    const branch = this.branchOf(news.path);
    if (!branch || (branch.size === null && !branch.error)) return;
    if (news.error) {
      branch.clear();
      branch.error = news.error;
    } else if (branch.error) {
      branch.clear();
      this.fetch(branch, 0);
    } else if (branch.list === news.id) {
      branch.isCurrent = true;
    } else if (branch.filter || news.isLong) {
      branch.isCurrent = false;
      branch.newSize = branch.filter ? null : news.total;
    } else if (news.before && news.before === branch.list) {
      this.keep(() => this.shift(branch, news));
    } else {
      this.update(branch);
    }
    this.changed();
  }

  shift(branch, { removed, added, total, id }) {
    const known = [];
    for (const [page, names] of branch.pages) {
      names.forEach((name, at) => known.push([page * PAGE_ROWS + at, name]));
    }
    known.sort((one, other) => one[0] - other[0]);
    const gone = new Set(removed);
    const moved = (index) => {
      if (gone.has(index)) return -1;
      let place = index;
      for (const before of removed) { if (before >= index) break; place -= 1; }
      for (const [at] of added) { if (at > place) break; place += 1; }
      return place;
    };
    branch.pages.clear();
    const put = (index, name) => {
      const page = Math.floor(index / PAGE_ROWS);
      if (!branch.pages.has(page)) branch.pages.set(page, []);
      branch.pages.get(page)[index % PAGE_ROWS] = name;
    };
    for (const [index, name] of known) {
      const place = moved(index);
      if (place >= 0) put(place, name);
    }
    for (const [index, name] of added) put(index, name);
    this.reopen(branch, (child) => moved(child.index));
    this.become(branch, id, total);
  }

  // Give the expanded children their new positions; those without one have gone.
  reopen(branch, placeOf) {
    const children = [...branch.open.values()];
    branch.open.clear();
    for (const child of children) {
      child.index = placeOf(child);
      if (child.index >= 0) branch.open.set(child.index, child);
    }
  }

  become(branch, list, size) {
    branch.past = [...branch.past, branch.list].slice(-20);
    Object.assign(branch, { list, size, isCurrent: true, newSize: null });
    branch.epoch += 1;
    branch.pending.clear();
  }

  // Load a changed list again, around the visible rows. The old rows stay until the new ones are here.
  // `list` is a newer list that the server has; "" for the newest.
  async update(branch, list = "") {
    if (branch.updating) { branch.again = true; return; }
    branch.updating = true;
    const epoch = branch.epoch;
    const { name, index } = this.keep.anchor(branch);
    const start = (at) => Math.max(0, Math.floor(at / PAGE_ROWS)) * PAGE_ROWS;
    const count = 2 * PAGE_ROWS; // the visible rows may be on two pages
    let answer = await this.ask(branch, start(index), list, name, count);
    if (!answer.error && answer.index >= 0 && start(answer.index) !== answer.start) {
      answer = await this.ask(branch, start(answer.index), answer.list, name, count);
    }
    const places = new Map();
    for (const child of answer.error ? [] : [...branch.open.values()]) {
      const found = await this.ask(branch, 0, answer.list, child.path.slice(branch.path === "/" ? 1
        : branch.path.length + 1), 0);
      places.set(child, found.error || found.list !== answer.list ? -1 : found.index);
    }
    branch.updating = false;
    if (branch.epoch !== epoch) {
      branch.again = true; // a filter or a difference came meanwhile
    } else if (answer.error) {
      branch.clear();
      branch.error = answer.error;
    } else {
      this.keep(() => {
        branch.pages.clear();
        for (let at = 0; at < answer.names.length; at += PAGE_ROWS) {
          branch.pages.set((answer.start + at) / PAGE_ROWS, answer.names.slice(at, at + PAGE_ROWS));
        }
        this.reopen(branch, (child) => places.has(child) ? places.get(child) : -1);
        this.become(branch, answer.list, answer.total);
        branch.warning = answer.warning;
      });
    }
    this.changed();
    if (branch.again) { branch.again = false; this.update(branch); }
  }

  // Expand the ancestors of a path; return the branch and the index of the znode, or null.
  async reveal(path) {
    const root = this.root.path;
    const prefix = root === "/" ? "/" : root + "/";
    if (!path.startsWith(prefix) || path === root) return null;
    let branch = this.root;
    let place = null;
    for (const name of path.slice(prefix.length).split("/")) {
      const answer = await this.fetch(branch, 0, name);
      if (!answer || answer.error || answer.index < 0) return place;
      await this.fetch(branch, Math.floor(answer.index / PAGE_ROWS));
      place = { branch, index: answer.index };
      if (branch.pathOf(name) === path) return place;
      branch = this.expand(branch, answer.index);
      if (!branch) return place;
    }
    return place;
  }
}
