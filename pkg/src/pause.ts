// Gives way to the event loop, through which messages (an abort above all) arrive.

/** Resolves in a later turn of the event loop. A message and no timer, because timers are held back in background tabs. */
export function pause(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
