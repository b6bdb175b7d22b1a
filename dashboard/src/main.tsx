// The dashboard: signs in, follows the server, and shows the page that the address names.

import "uplot/dist/uPlot.min.css";
import "./style.css";
import { render } from "preact";
import { ApiError, readSession, session, signIn } from "./data/api";
import { follow } from "./data/live";
import { Overview } from "./pages/overview";
import { SignIn } from "./pages/sign-in";
import { Page } from "./ui/parts";
import { route } from "./ui/route";
import { type Place, Shell } from "./ui/shell";
import { Empty, Loading } from "./ui/states";

const PLACES: Place[] = [
  { name: "", title: "Overview", icon: "M3 17V9m5 8V3m5 14v-6m5 6V6" },
];

function Content() {
  const [name = ""] = route.value.path;
  switch (name) {
    case "":
      return <Overview />;
    default:
      return (
        <Page title="Nothing here">
          <Empty title="There is no page at this address">
            <a href="#/">Go to the overview</a>
          </Empty>
        </Page>
      );
  }
}

function App() {
  if (!session.value) return <Loading what="the session" />;
  if (!session.value.signed_in) return <SignIn />;
  return (
    <Shell places={PLACES}>
      <Content />
    </Shell>
  );
}

/** A key in the address (`#key=…`, as `overspill demo` prints it) signs in and leaves no trace there. */
async function begin(): Promise<void> {
  const [, key] = /^#key=(.+)$/.exec(window.location.hash) ?? [];
  if (key) {
    window.history.replaceState(null, "", window.location.pathname);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
    try {
      await signIn(decodeURIComponent(key));
      return;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // The page asks for another.
    }
  }
  await readSession();
}

function start(): void {
  begin().catch(() => window.setTimeout(start, 2_000));
}

const root = document.getElementById("app");
if (root) render(<App />, root);
follow();
start();
