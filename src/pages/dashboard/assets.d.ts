/**
 * The files of the page, imported with `{ type: 'file' }`: each is the path to read it from, in the sources as in the
 * compiled binary. A browser runs them; the gateway only hands them out.
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
