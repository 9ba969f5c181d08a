import { config } from "zod";

// The AI SDK checks messages with zod. Without this, zod tries `new Function`, which the page's policy forbids.
config({ jitless: true });
