declare module 'kafkajs-snappy' {
  /** One block of snappy; `decompress` knows the frames of the Java library too. */
  const codec: () => {
    compress(encoder: { readonly buffer: Buffer }): Promise<Buffer>;
    decompress(bytes: Buffer): Promise<Buffer>;
  };
  export default codec;
}
