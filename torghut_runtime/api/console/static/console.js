// The console's live half: sections are replaced as the server renders them anew, and four calls are made.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const connection = byId("connection");
  const SILENT_MS = 5000;
  let token = ""; // in memory only
  let heard = Date.now();

  function say(text, tone) {
    if (connection.dataset.tone !== tone || tone !== "good") {
      connection.dataset.tone = tone;
    }
    connection.textContent = text;
  }

  function show(changed) {
    for (const [name, markup] of Object.entries(changed)) {
      const place = byId(`live-${name}`);
      if (place) place.innerHTML = markup; // every value in it was escaped where it was rendered
    }
  }

  async function listen() {
    for (;;) {
      try {
        const headers = token ? { Authorization: `Bearer ${token}` } : {};
        const answer = await fetch("console/events", { headers, cache: "no-store" });
        if (answer.status === 401 || answer.status === 403) {
          if (byId("reader-answer")) byId("reader-answer").textContent = "This token is not known.";
          return;
        }
        if (!answer.ok) throw new Error(String(answer.status));
        unlocked();
        await follow(answer.body.getReader());
      } catch {
        say("Connection lost; trying again. What is shown may be old.", "bad");
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }

  async function follow(reader) {
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const data = event.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
        if (data.length) show(JSON.parse(data.join("\n")));
        heard = Date.now();
        say(`Live, ${new Date().toISOString().slice(11, 19)} UTC`, "good");
      }
    }
  }

  setInterval(() => {
    const silent = Date.now() - heard;
    if (silent > SILENT_MS && !document.body.dataset.locked) {
      say(`No word for ${Math.round(silent / 1000)} s. What is shown is old.`, "bad");
    }
  }, 1000);

  function unlocked() {
    const form = byId("unlock");
    if (form) {
      form.remove();
      delete document.body.dataset.locked;
    }
  }

  const unlock = byId("unlock");
  if (unlock) {
    unlock.addEventListener("submit", (event) => {
      event.preventDefault();
      token = byId("reader-token").value.trim();
      byId("token").value = token;
      listen();
    });
  } else {
    listen();
  }

  function told(text, tone) {
    const answer = byId("answer");
    answer.dataset.tone = tone;
    answer.textContent = text;
  }

  async function act(action) {
    const given = byId("token").value.trim();
    const reason = byId("reason").value.trim();
    if (!given || !reason) {
      told("A token and a reason are needed.", "bad");
      byId(given ? "reason" : "token").focus();
      return;
    }
    const body = { reason, request_id: crypto.randomUUID ? crypto.randomUUID() : `console-${Date.now()}-${Math.random().toString(36).slice(2)}` };
    if (action === "flatten") body.confirm = true;
    told("Asking…", "idle");
    try {
      const answer = await fetch(`trading/${action}`, {
        method: "POST",
        headers: { Authorization: `Bearer ${given}`, "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      const found = await answer.json();
      if (found.ok) {
        const later = found.durable ? `ledger ${found.ledger_seq}` : "the database takes it later";
        told(`Done: ${found.action}, ${found.state_before} → ${found.state_after} (${later}).`, "good");
      } else {
        const detail = found.detail ? `: ${JSON.stringify(found.detail)}` : "";
        told(`Refused: ${found.error}${detail}.`, "bad");
      }
    } catch {
      told("No answer. It is not known whether it was done; look at the state.", "bad");
    }
  }

  const confirm = byId("confirm");
  for (const button of document.querySelectorAll("button[data-action]")) {
    button.disabled = false;
    button.addEventListener("click", () => {
      if (button.dataset.action === "flatten") confirm.showModal();
      else act(button.dataset.action);
    });
  }
  byId("stops").addEventListener("submit", (event) => event.preventDefault());
  byId("keep").addEventListener("click", () => confirm.close());
  byId("close-all").addEventListener("click", () => {
    confirm.close();
    act("flatten");
  });
})();
