// Light, dark, or the system's theme. The reference stores its choice under the same key.

const KEY = "colorMode";
const MODES = ["system", "light", "dark"];

/** Makes `button` cycle through the three modes. */
export function bindTheme(button) {
  apply(stored());
  label(button, stored());
  button.addEventListener("click", () => {
    const next = MODES[(MODES.indexOf(stored()) + 1) % MODES.length];
    try {
      localStorage.setItem(KEY, next);
    } catch {
      // Without storage, the choice applies to this page only.
    }
    apply(next);
    label(button, next);
  });
}

let chosen = null;

function stored() {
  if (chosen) return chosen;
  try {
    const mode = localStorage.getItem(KEY);
    return MODES.includes(mode) ? mode : "system";
  } catch {
    return "system";
  }
}

function apply(mode) {
  chosen = mode;
  document.documentElement.dataset.theme = mode;
}

function label(button, mode) {
  button.setAttribute("aria-label", `Theme: ${mode}`);
  button.title = `Theme: ${mode}`;
}
