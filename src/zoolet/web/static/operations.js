// After the end of an operation, its part of the page is not fetched any more.
"use strict";

(() => {
  const box = document.getElementById("operation");
  if (!box) return;
  const check = () => {
    const state = box.querySelector(".progress")?.dataset.state;
    if (state !== "running") box.dataset.seconds = "1000000";
  };
  new MutationObserver(check).observe(box, { attributes: true, childList: true, subtree: true, attributeFilter: ["data-state"] });
  check();
})();
