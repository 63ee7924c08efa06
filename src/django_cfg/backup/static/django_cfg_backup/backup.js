"use strict";
// Live progress, and a button that copies. Every page works without it.

async function follow(line) {
    try {
        const answer = await fetch(line.dataset.backupState, {credentials: "same-origin"});
        if (answer.ok) {
            const state = await answer.json();
            if (state.ended) {
                location.reload();
                return;
            }
            show(line, state);
        }
    } catch {
        // the server may be restarting, or its database being replaced: ask again
    }
    setTimeout(follow, 1500, line);
}

function show(line, state) {
    if (state.stage) {
        const words = state.words === undefined ? "" : state.words;
        line.textContent = [state.stage, words].filter(Boolean).join(" ");
    }
    const bar = document.querySelector("progress");
    if (bar && state.total) {
        bar.max = state.total;
        bar.value = Math.min(state.done, state.total);
    } else if (bar) {
        bar.removeAttribute("value");
    }
}

async function copy(event) {
    const button = event.currentTarget;
    const text = document.getElementById(button.dataset.copy);
    try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
    } catch {
        getSelection().selectAllChildren(text);  // no clipboard without HTTPS: the text is at least selected
    }
}

for (const line of document.querySelectorAll("[data-backup-state]")) {
    setTimeout(follow, 1000, line);
}
for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", copy);
}
