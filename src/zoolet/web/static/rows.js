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
  constructor(url, root, changed) {
    this.url = url;
    this.changed = changed;
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
    if (!branch.pages.has(page) && !branch.pending.has(page)) this.fetch(branch, page);
  }

  async fetch(branch, page, find = "") {
    const epoch = branch.epoch;
    branch.pending.add(page);
    const fields = { path: branch.path, start: page * PAGE_ROWS, count: PAGE_ROWS, list: branch.list };
    if (branch.filter) fields.filter = branch.filter;
    if (find) fields.find = find;
    let answer;
    try {
      const response = await fetch(`${this.url}/children?${new URLSearchParams(fields)}`, {
        headers: { Accept: "application/json" },
      });
      answer = await response.json();
    } catch {
      answer = { error: "The page does not answer. Is zoolet web running?" };
    }
    if (branch.epoch !== epoch) return null;
    branch.pending.delete(page);
    if (answer.error) {
      branch.error = answer.error;
      branch.open.clear();
    } else {
      if (branch.list && branch.list !== answer.list) {
        // The server keeps this list no more: start again with the new one.
        const filter = branch.filter;
        branch.clear();
        branch.filter = filter;
      }
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
