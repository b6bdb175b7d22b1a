// Drives the official JavaScript client, unmodified: one call a process, its answer as JSON on stdout.
//
//     node runpod-sdk.mjs BASE KEY ENDPOINT OPERATION [ARGUMENT…]
//
// Arguments are JSON. What the client prints by itself goes to standard error, as do its stacks.
import runpodSdk from "runpod-sdk";

console.log = console.error;
const [base, key, name, operation, ...rest] = process.argv.slice(2);
const endpoint = runpodSdk(key, { baseUrl: base }).endpoint(name);
const given = rest.map((text) => JSON.parse(text));

async function answer() {
  if (operation === "methods") {
    const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(endpoint));
    return methods.filter((method) => method !== "constructor").sort();
  }
  if (operation === "stream") {
    const chunks = [];
    for await (const chunk of endpoint.stream(...given)) chunks.push(chunk);
    return chunks;
  }
  return endpoint[operation](...given);
}

try {
  process.stdout.write(JSON.stringify({ answer: await answer() }));
} catch (error) {
  const response = error.response;
  const told = { message: String(error.message), status: response?.status, body: response?.data };
  process.stdout.write(JSON.stringify({ error: told }));
}
