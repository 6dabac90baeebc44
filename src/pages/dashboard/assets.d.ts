/**
 * The files of the page. Imported with `{ type: 'file' }`, each is a path to read the file from, both in the sources
 * and in the compiled binary. The gateway only serves them; a browser runs them.
 */
declare module '.*.js' {
  const path: string;
  export default path;
}
declare module '.*.css' {
  const path: string;
  export default path;
}
declare module '.*.html' {
  const path: string;
  export default path;
}
declare module 'uplot/dist/uPlot.iife.min.js' {
  const path: string;
  export default path;
}
declare module 'uplot/dist/uPlot.min.css' {
  const path: string;
  export default path;
}
