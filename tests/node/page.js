// What a page does to read an answer; loaded into each page before its own scripts.

// All that an EventSource hears, until it has given up asking or, where `enough` came, been closed.
globalThis.listen = (url, enough) =>
  new Promise((resolve) => {
    const heard = { opened: 0, events: [] };
    const source = new EventSource(url);
    const hear = ({ type, lastEventId, data }) => {
      heard.events.push({ type, id: lastEventId, record: JSON.parse(data) });
      if (enough && data.includes(enough)) source.close();
      if (source.readyState === EventSource.CLOSED) resolve(heard);
    };
    for (const type of ["start", "ping", "message", "end"]) source.addEventListener(type, hear);
    source.onopen = () => (heard.opened += 1);
    source.onerror = () => source.readyState === EventSource.CLOSED && resolve(heard);
  });

// What a reader of the body is told. Once it holds `enough`, the reader leaves, by
// "abort" or "cancel", or stays where it is until the page goes.
globalThis.read = async (url, accept, body, headers = {}, enough = null, way = null) => {
  const told = { body: "" };
  const controller = new AbortController();
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: accept, ...headers },
      body: JSON.stringify(body),
      signal: controller.signal,
    });
    told.status = response.status;
    told.id = response.headers.get("X-Request-ID");
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      told.body += decoder.decode(value, { stream: !done });
      if (done) return told;
      if (!enough || !told.body.includes(enough)) continue;
      if (way === "abort") controller.abort();
      else if (way === "cancel") await reader.cancel();
      else {
        globalThis.staying = reader;
        return told;
      }
    }
  } catch (error) {
    return { ...told, error: error.name };
  }
};
