// The dashboard: signs in, follows the server, and shows the page that the address names.

import "uplot/dist/uPlot.min.css";
import "./style.css";
import { render } from "preact";
import { ApiError, readSession, session, signIn } from "./data/api";
import { follow } from "./data/live";
import { Decisions } from "./pages/decisions";
import { Doctor } from "./pages/doctor";
import { Endpoints } from "./pages/endpoints";
import { JobPage } from "./pages/job";
import { Jobs } from "./pages/jobs";
import { Keys } from "./pages/keys";
import { MoneyPage } from "./pages/money";
import { Overview } from "./pages/overview";
import { SettingsPage } from "./pages/settings";
import { SignIn } from "./pages/sign-in";
import { Webhooks } from "./pages/webhooks";
import { WorkersPage } from "./pages/workers";
import { Page } from "./ui/parts";
import { route } from "./ui/route";
import { type Place, Shell } from "./ui/shell";
import { Empty, Loading } from "./ui/states";

const PLACES: Place[] = [
  { name: "", title: "Overview", icon: "M3 17V9m5 8V3m5 14v-6m5 6V6" },
  { name: "endpoints", title: "Endpoints", icon: "M4 5h12M4 10h12M4 15h7" },
  { name: "jobs", title: "Jobs", icon: "M3 4h14v12H3zM3 8h14M7 8v8" },
  { name: "workers", title: "Workers", icon: "M3 4h14v5H3zM3 11h14v5H3zM6 6.5h.01M6 13.5h.01", scope: "workers" },
  { name: "decisions", title: "Decisions", icon: "M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM10 6v4l3 2" },
  { name: "doctor", title: "Doctor", icon: "M10 4v12M4 10h12" },
  { name: "money", title: "Money", icon: "M10 2v16M14 5.5H8a2.5 2.5 0 0 0 0 5h4a2.5 2.5 0 0 1 0 5H5.5" },
  { name: "webhooks", title: "Webhooks", icon: "M3 10h9m0 0-4-4m4 4-4 4M15 4v12" },
  { name: "keys", title: "Keys", icon: "M12.5 3a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM9.4 10.6 3 17m2-2 2 2", scope: "keys" },
  { name: "settings", title: "Settings", icon: "M3 6h7m4 0h3M3 14h3m4 0h7M12 4v4M8 12v4", scope: "admin" },
];

function Content() {
  const [name = "", id] = route.value.path;
  switch (name) {
    case "":
      return <Overview />;
    case "endpoints":
      return <Endpoints />;
    case "jobs":
      return id ? <JobPage key={id} id={id} /> : <Jobs />;
    case "workers":
      return <WorkersPage />;
    case "decisions":
      return <Decisions />;
    case "doctor":
      return <Doctor />;
    case "money":
      return <MoneyPage />;
    case "webhooks":
      return <Webhooks />;
    case "keys":
      return <Keys />;
    case "settings":
      return <SettingsPage />;
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
