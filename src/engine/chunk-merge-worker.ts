/** Puts chunks together in a thread of its own: the thread that starts it sends requests, and gets the chunks of each. */
import { parentPort } from 'node:worker_threads';
import { type MergeRequest, merge } from './chunk-merge.ts';

parentPort!.on('message', (request: MergeRequest) => {
  const made = merge(request);
  parentPort!.postMessage(
    made,
    made.map(([, chunk]) => chunk.buffer as ArrayBuffer),
  );
});
