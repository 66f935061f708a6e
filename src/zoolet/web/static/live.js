// A stream of events from the page's server. It closes while the page is hidden, connects again by
// itself, and says why nothing comes.
"use strict";

class Live {
  // `address` returns the URL of the stream, or null; `say` shows why nothing comes, "" if all is well.
  constructor(address, handlers, say, hides = true) {
    Object.assign(this, { address, handlers, say, hides });
    this.source = null;
    this.timer = 0;
    this.delay = 1000;
    this.problems = new Map();
    this.isOver = false;
    document.addEventListener("visibilitychange", () => {
      if (this.hides) document.hidden ? this.close() : this.open();
    });
    window.addEventListener("pagehide", () => this.close());
    window.addEventListener("pageshow", (event) => { if (event.persisted) this.open(); });
  }

  open() {
    this.close();
    const url = this.address();
    if (url === null || this.isOver || (this.hides && document.hidden)) return;
    const source = new EventSource(url);
    this.source = source;
    source.onopen = () => { this.delay = 1000; this.problems.clear(); this.show(); };
    source.onerror = () => this.failed(source, url);
    for (const [name, handler] of Object.entries(this.handlers)) {
      source.addEventListener(name, (event) => handler(JSON.parse(event.data), event.lastEventId));
    }
    source.addEventListener("problem", (event) => {
      const { path, error } = JSON.parse(event.data);
      if (error) this.problems.set(path, error);
      else this.problems.delete(path);
      this.show();
    });
    source.addEventListener("end", (event) => this.ended(JSON.parse(event.data)));
  }

  close() {
    clearTimeout(this.timer);
    if (this.source) this.source.close();
    this.source = null;
  }

  // Open the stream again soon: several reasons in a row make one new stream.
  reopen() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), 300);
  }

  show() {
    this.say([...new Set(this.problems.values())].join(" "));
  }

  ended({ reason, error }) {
    if (reason === "login") {
      this.isOver = true;
      this.close();
      this.say("You are logged out. Load the page again.");
    } else {
      this.say(error || (reason === "stopped" ? "zoolet web has stopped. This page waits for it."
        : "The connection has ended. This page connects again."));
    }
  }

  // A browser connects again after a lost connection, but not after an answer that is an error.
  async failed(source, url) {
    if (source !== this.source) return;
    if (source.readyState !== EventSource.CLOSED) {
      this.say("The page's server does not answer. This page connects again.");
      return;
    }
    let error = "The page's server does not answer.";
    try {
      const response = await fetch(url, { headers: { Accept: "application/json" } });
      if (source !== this.source) return;
      if (response.status === 401) { this.ended({ reason: "login" }); return; }
      error = (await response.json()).error || error;
    } catch {
      // The server does not answer: try again.
    }
    if (source !== this.source) return;
    this.say(error + " This page tries again.");
    this.delay = Math.min(this.delay * 2, 30000);
    this.timer = setTimeout(() => this.open(), this.delay);
  }
}
