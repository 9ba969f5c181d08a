// What a reader makes of an answer, in a form that JSON can hold; for Node, and for a page that loads it first.

// A job is the options of `ask`, with `question`, `each` ("ask" or "records") and `leave`: after which piece, and how.
globalThis.tell = async ({ ask, records }, { question, each = "ask", leave, ...options }) => {
  const controller = new AbortController();
  const told = { yielded: [] };
  try {
    const answer = { ask, records }[each](question, { ...options, signal: controller.signal });
    for (;;) {
      const { done, value } = await answer.next();
      if (done) return { ...told, returned: value };
      told.yielded.push(value);
      if (!leave || !told.yielded.join("").includes(leave.after)) continue;
      if (leave.way === "abort") controller.abort();
      else await answer.return();
    }
  } catch (error) {
    const { name, message, code, status, id, path, retryAfterSeconds, text } = error;
    return { ...told, error: { name, message, code, status, id, path, retryAfterSeconds, text } };
  }
};
