// Sends a file with its progress, then opens the page that says what its import does.
"use strict";

(() => {
  const form = document.getElementById("upload");
  if (!form) return;
  const file = form.querySelector("input[type=file]");
  const button = form.querySelector("button");
  const bar = form.querySelector("progress");
  const status = document.getElementById("upload-status");
  const most = Number(form.dataset.most);
  const tell = (text, isError) => {
    status.textContent = text;
    status.classList.toggle("error", isError);
    button.disabled = false;
  };
  button.disabled = false;
  status.textContent = "";

  function ended(request) {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* no JSON: an error without a text */ }
    if (request.status === 200 && answer.page) location.assign(answer.page);
    else tell(answer.error || `The page answers with the error ${request.status}.`, true);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = file.files[0];
    if (!chosen) return;
    if (chosen.size > most) {
      tell(`The file is larger than ${most / 1048576} MiB. Import it with zoolet shell.`, true);
      return;
    }
    button.disabled = true;
    status.classList.remove("error");
    status.textContent = "The file is sent…";
    const request = new XMLHttpRequest();
    request.open("POST", form.dataset.url);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Content-Type", "application/x-ndjson");
    request.setRequestHeader("X-CSRF-Token", form.dataset.token);
    request.upload.addEventListener("progress", (sent) => {
      bar.value = sent.total ? sent.loaded / sent.total : 0;
      if (sent.loaded === sent.total) status.textContent = "The file is checked…";
    });
    request.addEventListener("load", () => ended(request));
    request.addEventListener("error", () => tell("The page does not answer, or has refused the file.", true));
    request.send(chosen);
  });
})();
