/**
 * Files of other packages that are embedded as they are: imported with `{ type: 'file' }`, each is the path to read it
 * from, in the sources as in the compiled binary.
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
