"""The UI message stream of Vercel's AI SDK, as `useChat` uses it at `/api/ui`."""
