// What the scripts beside this one share: where to ask, and one line of JSON on stdout for each case.

const [client, servers, image] = [process.argv[2], JSON.parse(process.argv[3]), process.argv[4]];

// A model that no server of its own is named for is one of the mock model's.
export const origin = (model) => servers[model] ?? servers.mock;

// Each case gets a tag, under which the server's log knows its requests, and tells what the client made of the answer.
export async function run(cases) {
  const tell = async ([name, ask]) => console.log(JSON.stringify({ name, ...(await ask(`${client}-${name}`)) }));
  await Promise.all(Object.entries(cases).map(tell));
}

export { client, image };
