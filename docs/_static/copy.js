/* A button on every block of code. From a session it copies what was typed: no prompts, no output. */
"use strict";

const typed = (block) => {
  const copy = block.cloneNode(true);
  const isSession = copy.querySelector(".gp") !== null;
  copy.querySelectorAll(".gp, .go, .linenos").forEach((part) => part.remove());
  const lines = copy.textContent.split("\n");
  return (isSession ? lines.filter((line) => line.trim()) : lines).join("\n").trimEnd() + "\n";
};

const addButton = (block) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(typed(block));
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(block); // where pages may not write to the clipboard
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  block.parentElement.append(button);
};

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("div.highlight > pre").forEach(addButton));
