/** @type {import("next").NextConfig} */
export default {
  // The official client speaks to a server; no page needs it.
  serverExternalPackages: ["runpod-sdk"],
  poweredByHeader: false,
};
