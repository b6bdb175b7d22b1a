// Asks for a key, once: the browser keeps a session instead of it.

import { useState } from "preact/hooks";
import { ApiError, signIn } from "../data/api";

export function SignIn() {
  const [key, setKey] = useState("");
  const [error, setError] = useState<ApiError | null>(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await signIn(key.trim());
    } catch (reason) {
      setError(reason instanceof ApiError ? reason : new ApiError(0, "unknown", String(reason), null));
    }
    setBusy(false);
  };
  return (
    <main class="sign-in">
      <form onSubmit={(event) => void submit(event)}>
        <h1>Overspill</h1>
        <p>Your own cards first. The cloud only for what is left.</p>
        <label for="key">API key</label>
        <input
          id="key"
          type="password"
          autocomplete="current-password"
          spellcheck={false}
          required
          value={key}
          aria-describedby="key-help"
          aria-invalid={error ? true : undefined}
          onInput={(event) => setKey(event.currentTarget.value)}
        />
        <button type="submit" class="primary" disabled={isBusy || key.trim() === ""}>
          {isBusy ? "Signing in…" : "Sign in"}
        </button>
        {error && (
          <p class="error" role="alert">
            {error.status === 401 ? "This key is not valid." : `${error.message}.`}
          </p>
        )}
        <p id="key-help" class="quiet">
          The first key stands in the file <code>bootstrap.key</code> of the server’s data folder, or is what you set as{" "}
          <code>OVERSPILL_API_KEY</code>. <code>overspill keys create</code> makes more.
        </p>
      </form>
    </main>
  );
}
