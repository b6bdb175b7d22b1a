// Drives @runpod/ai-sdk-provider through the `ai` package, unmodified: one call a process.
//
//     node ai-sdk.mjs BASE KEY ENDPOINT OPERATION OPTIONS
//
// BASE ends in /v2. The chat base and the image base differ (protocol reference, part F).
import { createRunpod } from "@runpod/ai-sdk-provider";
import {
  experimental_generateImage as generateImage,
  experimental_generateSpeech as generateSpeech,
  experimental_transcribe as transcribe,
  generateText,
  streamText,
} from "ai";

const [base, apiKey, name, operation, text] = process.argv.slice(2);
const options = JSON.parse(text ?? "{}");
const chat = createRunpod({ apiKey, baseURL: `${base}/${name}/openai/v1` });
const media = createRunpod({ apiKey, baseURL: `${base}/${name}` });
const maxRetries = 0;
// Their own option of polling, which the handlers see in the input as well.
const providerOptions = { runpod: { pollIntervalMillis: 100, maxPollAttempts: 300, ...options.runpod } };

const operations = {
  async chat() {
    const { text, usage } = await generateText({ model: chat("m"), prompt: options.prompt, maxRetries });
    return { text, usage };
  },
  async completion() {
    const { text } = await generateText({ model: chat.completionModel("m"), prompt: options.prompt, maxRetries });
    return { text };
  },
  async stream() {
    const errors = [];
    const result = streamText({
      model: chat("m"),
      prompt: options.prompt,
      maxRetries,
      onError: ({ error }) => errors.push(error),
    });
    const parts = [];
    for await (const part of result.textStream) parts.push(part);
    if (errors.length > 0) throw errors[0];
    return { parts, usage: await result.usage };
  },
  async image() {
    const { image } = await generateImage({ model: media.image("m"), prompt: options.prompt, providerOptions, maxRetries });
    return { bytes: image.uint8Array.length };
  },
  async speech() {
    const model = media.speech(`${base}/${name}`);
    const { audio } = await generateSpeech({ model, text: options.prompt, maxRetries });
    return { bytes: audio.uint8Array.length };
  },
  async transcription() {
    const model = media.transcription(`${base}/${name}`);
    const { text } = await transcribe({ model, audio: new Uint8Array([82, 73, 70, 70]), providerOptions, maxRetries });
    return { text };
  },
  async video() {
    const model = media.video(`${base}/${name}`);
    const result = await model.doGenerate({ prompt: options.prompt, n: 1, providerOptions });
    return { url: result.videos[0].url };
  },
};

try {
  process.stdout.write(JSON.stringify({ answer: await operations[operation]() }));
} catch (error) {
  const told = { name: error.name, message: String(error.message), status: error.statusCode };
  process.stdout.write(JSON.stringify({ error: told }));
}
