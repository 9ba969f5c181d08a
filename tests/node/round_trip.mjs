// What eventsource-parser reads in event streams: on each line of stdin the pieces of one stream, in base64, as they
// are to be read; on the same line of stdout its events.
import { createInterface } from "node:readline";
import { createParser } from "eventsource-parser";

function read(pieces) {
  const events = [];
  const parser = createParser({ onEvent: (event) => events.push(event) });
  const decoder = new TextDecoder();
  for (const piece of pieces) {
    parser.feed(decoder.decode(Buffer.from(piece, "base64"), { stream: true }));
  }
  return events;
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(read(JSON.parse(line))));
}
