// The API reference: Scalar renders the document, with a link to the player for each stream.

import { baseOf, eachOperation, idOf, load, streamOf } from "./document.mjs";
import { $, setText } from "./dom.mjs";

const COLOURS = `
.light-mode {
  --scalar-background-1: #fbfaf6; --scalar-background-2: #f3f1ea; --scalar-background-3: #e9e6dc;
  --scalar-color-1: #14211f; --scalar-color-2: #4c5a56; --scalar-color-3: #6b7a75; --scalar-color-accent: #0c7570;
  --scalar-border-color: #dcd9cd; --scalar-background-accent: #0c75701a;
}
.dark-mode {
  --scalar-background-1: #101b1d; --scalar-background-2: #0b1315; --scalar-background-3: #18272a;
  --scalar-color-1: #e4ece8; --scalar-color-2: #a6b8b3; --scalar-color-3: #7f9590; --scalar-color-accent: #62cfc0;
  --scalar-border-color: #1f2e30; --scalar-background-accent: #62cfc01f;
}
:root {
  --scalar-font: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --scalar-font-code: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
a[href*="docs/play#"] {
  display: inline-block; padding: 6px 14px; border-radius: 9px; text-decoration: none !important; font-weight: 600;
  background: var(--scalar-color-accent) !important; color: var(--scalar-background-1) !important;
}
a[href*="docs/play#"]:hover { filter: brightness(1.1); }
`;

/** All features of Scalar that contact or link to another host are off. */
const CONFIGURATION = {
  agent: { disabled: true },
  customCss: COLOURS,
  defaultOpenAllTags: true,
  defaultHttpClient: { targetKey: "shell", clientKey: "curl" },
  documentDownloadType: "json",
  externalUrls: { dashboardUrl: "", registryUrl: "", proxyUrl: "", apiBaseUrl: "" },
  hideClientButton: true,
  mcp: { disabled: true },
  persistAuth: false,
  showDeveloperTools: "never",
  telemetry: false,
  theme: "default",
  withDefaultFonts: false,
};

/** Adds a link to the player to each streaming operation's description. */
function linkPlayer(api) {
  eachOperation(api, (path, method, operation) => {
    if (!streamOf(api, operation)) return;
    const url = new URL("docs/play", document.baseURI);
    url.hash = encodeURIComponent(idOf(path, method, operation));
    const link = `[▶ Play this stream](${url.href})`;
    operation.description = operation.description ? `${link}\n\n${operation.description}` : link;
  });
}

/** Resolves when the browser has drawn the current page. */
const drawn = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));

/** Loads the reference's script. It is large, so the page shows its list of operations first. */
function loadScript(url) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.async = true;
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error("its script, docs/scalar.js, didn't load")));
    document.head.append(script);
  });
}

async function open() {
  $("waiting").hidden = false;
  const url = new URL("openapi.json", document.baseURI);
  const loading = load(url);
  // A hidden page is never drawn.
  if (document.visibilityState === "visible") await drawn();
  const [api] = await Promise.all([loading, loadScript(new URL($("reference").dataset.script, document.baseURI))]);
  document.title = api.info?.title ?? document.title;
  // The URL of the app, because the document may lack its prefix or public host.
  api.servers = [{ url: baseOf(api, url).href.replace(/\/$/, "") }, ...(api.servers ?? []).slice(1)];
  linkPlayer(api);
  if (!globalThis.Scalar) throw new Error("its script, docs/scalar.js, is not what it was");
  $("overview").remove();
  globalThis.Scalar.createApiReference("#reference", { ...CONFIGURATION, content: api });
}

open().catch((error) => {
  if ($("waiting")) $("waiting").hidden = true;
  setText($("fault"), `The reference can't be shown: ${error.message}`);
  $("fault").hidden = false;
});
