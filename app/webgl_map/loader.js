// Fetches the map's program once; each run of the page then sends what it shows, not the program.
export default function (component) {
  let end, gone = false;
  import(new URL(component.data.program, document.baseURI).href).then((map) => {
    if (!gone) end = map.default(component);
  }, console.error);
  return () => {
    gone = true;
    end?.();
  };
}
