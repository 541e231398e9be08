// Takes the pictures in docs/screenshots: node screenshots.mjs JSON FOLDER.
import { join } from "node:path";
import { setup, launch, signIn } from "./site.mjs";

const folder = process.argv[3];
const browser = await launch();
const shots = {
  home: ["/"],
  "home-dark-phone": ["/", { width: 390, height: 780, colorScheme: "dark" }],
  gallery: ["/projects"],
  project: ["/projects/1"],
  "project-dark": ["/projects/1", { colorScheme: "dark" }],
  "project-phone": ["/projects/1", { width: 390, height: 780 }],
  steps: ["/projects/1", { at: "#steps" }],
  comments: ["/projects/1", { at: "#comments" }],
  person: ["/u/mira"],
  editor: ["/projects/1/edit", { name: "mira" }],
  account: ["/account", { name: "mira" }],
  "two-factor": ["/account/two-factor", { name: "mira" }],
  admin: ["/admin", { name: setup.admin }],
  moderation: ["/admin/moderation", { name: setup.admin }],
  users: ["/admin/users", { name: setup.admin }],
  views: ["/admin/views", { name: setup.admin }],
  register: ["/register"],
};

// The front page has something that an admin has chosen.
const warden = await (await browser.newContext()).newPage();
await signIn(warden, setup.admin, setup.password);
await warden.context().request.post(`${setup.site}/api/admin/projects/3/feature`);
await warden.context().close();

for (const [file, [path, { width = 1100, height = 760, colorScheme = "light", name, at } = {}]] of Object.entries(shots)) {
  const page = await (await browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: "reduce", locale: "en-GB" })).newPage();
  if (name) await signIn(page, name, name === setup.admin ? setup.password : "Workshop-2026");
  await page.goto(setup.site + path);
  await page.waitForLoadState("networkidle");
  if (at) await page.locator(at).evaluate((element) => element.scrollIntoView());
  await page.screenshot({ path: join(folder, file + ".png") });
  await page.context().close();
}
await browser.close();
