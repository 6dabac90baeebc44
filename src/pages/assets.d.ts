/**
 * Files of other packages that are embedded unchanged. Imported with `{ type: 'file' }`, each is a path to read the
 * file from, both in the sources and in the compiled binary.
 */
declare module 'redoc/bundles/redoc.standalone.js' {
  const path: string;
  export default path;
}
declare module 'swagger-ui-dist/swagger-ui-bundle.js' {
  const path: string;
  export default path;
}
declare module 'swagger-ui-dist/swagger-ui.css' {
  const path: string;
  export default path;
}
