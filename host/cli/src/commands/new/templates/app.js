// template-service: greets whoever asks.

import { get } from "pyairtable:context/configuration@0.1.0";

export const handler = {
  handle(request, responder) {
    if (request.path() !== "/api/v1/greetings") {
      throw { class: "not-found", code: "greeting.no-route", message: "there is nothing here", attrs: [] };
    }
    const match = /(?:^|&)name=([^&]*)/.exec(request.query() ?? "");
    const name = match ? decodeURIComponent(match[1].replaceAll("+", " ")) : "world";
    const text = JSON.stringify({ message: `${JSON.parse(get("greeting"))}, ${name}!` });
    // Neither URLSearchParams nor TextEncoder is part of every engine.
    const body = Uint8Array.from(unescape(encodeURIComponent(text)), (c) => c.charCodeAt(0));
    return { tag: "whole", val: { status: 200, headers: [["content-type", "application/json"]], body } };
  },
};
