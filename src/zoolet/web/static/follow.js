// Shows the news of a znode in its part of the page. It changes only what is shown, never a form.
"use strict";

class Follow {
  // `reload` loads the part with the znode again, and returns when it is there.
  constructor(znode, note, again, reload) {
    Object.assign(this, { znode, note, again, reload });
    this.isStale = false; // whether the forms have an older version than the server
    again.addEventListener("click", () => this.refresh());
    znode.addEventListener("toggle", (event) => this.opened(event.target), true);
  }

  // A new part of the page: nothing in it is older than the server.
  begin() {
    this.isStale = false;
    this.say("", false);
  }

  say(text, offers) {
    this.note.textContent = text;
    this.again.hidden = !offers;
  }

  isEdited() {
    if (this.znode.querySelector("details.edit[open]")) return true;
    return [...this.znode.querySelectorAll("textarea, input:not([type=hidden])")].some(
      (field) => field.value !== field.defaultValue);
  }

  async refresh() {
    await this.reload();
  }

  // A form that opens has the newest values.
  async opened(details) {
    if (!details.open || !details.matches(".edit") || !this.isStale) return;
    const index = [...this.znode.querySelectorAll("details.edit")].indexOf(details);
    await this.reload();
    const found = this.znode.querySelectorAll("details.edit")[index];
    if (found) found.open = true;
  }

  // Show the news; return whether the znode needs a part of the page that is not there.
  apply(news) {
    const stat = document.getElementById("stat");
    if (!news.stat) {
      if (news.error || !stat) return Boolean(news.error) && Boolean(stat) && this.hide(news.error);
      this.say("This znode does not exist any more.", false);
      this.isStale = true;
      return false;
    }
    const isRefused = document.getElementById("data-error") !== null;
    const isOther = news.error ? !isRefused : isRefused && news.html !== null;
    if (!stat || !stat.rows.length || isOther) {
      return this.offer("The permission or the znode has changed.");
    }
    news.rows.forEach((row, index) => {
      const cells = stat.rows[index].cells;
      for (const cell of [1, 2]) {
        if (cells[cell].textContent !== row[cell]) cells[cell].textContent = row[cell];
      }
    });
    if (stat.dataset.id === news.id) return false;
    const sameAcl = stat.dataset.id.split("-")[2] === news.id.split("-")[2];
    stat.dataset.id = news.id;
    this.isStale = true;
    if (!sameAcl) return this.offer("The ACL has changed.");
    const data = document.getElementById("data");
    if (news.html === null || !data) {
      this.say("The data has changed.", true);
      return false;
    }
    data.innerHTML = news.html; // the server has escaped all data
    this.say(this.isEdited() ? "The data has changed since you opened the form. If you save, the page"
      + " shows both values." : "", false);
    return false;
  }

  offer(text) {
    if (!this.isEdited()) return true;
    this.say(text, true);
    return false;
  }

  // The permission was taken away: what was read before goes away too, but not what the user writes.
  hide(error) {
    for (const id of ["data", "stat"]) document.getElementById(id)?.replaceChildren();
    this.say(error, true);
    return false;
  }
}
