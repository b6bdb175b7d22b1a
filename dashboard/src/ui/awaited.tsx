// In place of what the server says once a second, before it has said it for the first time.

import { fault, link, openNow } from "../data/live";
import { Failed, Loading } from "./states";

/** That it is being read, or why it does not come; nothing where the frame says why already. */
export function Awaited({ what }: { what: string }) {
  if (link.value === "refused") return null;
  return fault.value ? <Failed error={fault.value} again={openNow} /> : <Loading what={what} />;
}
