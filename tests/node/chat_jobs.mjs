// Asks as each line of stdin says, all at once; on the same line of stdout is what came of it.

import { text } from "node:stream/consumers";
import * as chat from "./chat.mjs";
import "./contract.js";

const jobs = (await text(process.stdin)).trimEnd().split("\n").map(JSON.parse);
for (const told of await Promise.all(jobs.map((job) => tell(chat, job)))) console.log(JSON.stringify(told));
