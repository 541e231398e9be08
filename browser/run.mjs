// Walks through the site as people do, and looks at every page on the way:
// node run.mjs JSON, where the JSON is what site.mjs calls setup.
import { setup, launch, visitor, go, expecting, inspect, same, signIn, letterTo, totp, faults, say } from "./site.mjs";
import { writing, bringing, building, uploading } from "./editor.mjs";

const password = "Workshop-2026"; // of everybody in the demo
const browser = await launch();
const picture = await drawing();

async function drawing() {
  const page = await (await browser.newContext({ viewport: { width: 640, height: 480 } })).newPage();
  await page.setContent("<h1>A lamp</h1>");
  const png = await page.screenshot();
  await page.context().close();
  return { name: "lamp.png", mimeType: "image/png", buffer: png };
}

// press opens what hides the button, if anything does, and presses it.
const press = (within, name) => within.getByRole("button", { name, exact: true }).first().click();
const field = (within, name) => within.getByRole("textbox", { name });
const section = (page, name) => page.getByRole("region", { name });

// account: from registering to deleting.
async function account(page, name) {
  const address = `${name}@example.com`;
  await go(page, "/register?return_to=/projects");
  await page.getByLabel("Username").fill(name);
  await page.getByLabel("First name").fill("Robin");
  await page.getByLabel("E-mail address").fill(address);
  await page.getByLabel("Password", { exact: true }).fill("short");
  await page.getByLabel(/I agree to the/).check();
  await inspect(page);
  await expecting(page, 422, () => press(page.getByRole("main"), "Create account"));
  same("the name after a fault", await page.getByLabel("Username").inputValue(), name);
  await inspect(page);
  await page.getByLabel("Password", { exact: true }).fill("Correct-Horse-7");
  await press(page.getByRole("main"), "Create account");
  await page.getByLabel("Username or e-mail address").fill(name);
  await page.getByLabel("Password", { exact: true }).fill("Correct-Horse-7");
  await press(page.getByRole("main"), "Sign in");
  await page.waitForURL("**/projects");

  const link = await letterTo(address, /(\/verify-email\?\S*token=[\w%-]+)/);
  await go(page, link);
  await inspect(page);
  await press(page.getByRole("main"), "Yes, confirm it");
  await page.waitForLoadState();
  await inspect(page);

  await go(page, "/account/profile");
  await page.getByLabel("About you").or(page.getByLabel("Bio")).fill("I make lamps.");
  await page.getByLabel("Choose a picture").setInputFiles(picture);
  await press(page.getByRole("main"), "Save picture");
  await page.getByRole("img", { name: "Your picture" }).waitFor();
  await page.getByLabel("About you").or(page.getByLabel("Bio")).fill("I make lamps.");
  await press(page.getByRole("main"), "Save");
  await page.waitForLoadState();
  await inspect(page);
  await go(page, `/u/${name}`);
  await page.getByText("I make lamps.").first().waitFor();
  await inspect(page);

  await go(page, "/account/notifications");
  await page.getByLabel("names me in a comment").uncheck();
  await press(page.getByRole("main"), "Save");
  await page.waitForLoadState();
  await inspect(page);
  same("letters about mentions", await page.getByLabel("names me in a comment").isChecked(), false);

  const other = `${name}@example.org`;
  await go(page, "/account/security");
  await page.getByLabel("E-mail address").fill(other);
  await press(page.getByRole("main"), "Change address");
  await page.getByText("Your new address").first().waitFor();
  await inspect(page);
  await go(page, await letterTo(other, /(\/verify-email\?\S*token=[\w%-]+)/));
  await press(page.getByRole("main"), "Yes, confirm it");
  await page.waitForLoadState();

  await go(page, "/account/sessions");
  await inspect(page);
  await page.getByRole("link", { name: "Sign out" }).click();
  await page.waitForLoadState();
  await go(page, "/forgot-password");
  await inspect(page);
  await page.getByLabel("E-mail address").fill(other);
  await press(page.getByRole("main"), "Send me a link");
  await page.getByText("It works for an hour").waitFor();
  await inspect(page);
  await go(page, await letterTo(other, /(\/reset-password\?\S*token=[\w%-]+)/));
  await page.getByLabel("New password", { exact: true }).fill("Correct-Horse-8");
  await page.getByLabel("The same again", { exact: true }).fill("Correct-Horse-9");
  await expecting(page, 422, () => press(page.getByRole("main"), "Set the password"));
  await inspect(page);
  await page.getByLabel("New password", { exact: true }).fill("Correct-Horse-8");
  await page.getByLabel("The same again", { exact: true }).fill("Correct-Horse-8");
  await press(page.getByRole("main"), "Set the password");
  await page.waitForLoadState();
  await inspect(page);
  await signIn(page, name, "Correct-Horse-8");
  await go(page, "/account/data");
  const [mine] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download my data" }).click()]);
  if (!/\.zip$/.test(mine.suggestedFilename()) || (await mine.failure())) say(page.who, `one's data are ${mine.suggestedFilename()} ${await mine.failure()}`);

  await go(page, "/account/two-factor");
  await inspect(page);
  const secret = (await page.getByRole("main").innerText()).match(/\b(?:[A-Z2-7]{4} ?){8,}/)[0];
  await page.getByLabel("Code", { exact: true }).fill(totp(secret));
  await press(page.getByRole("main"), "Switch on");
  await page.waitForLoadState();
  await inspect(page);
  await page.getByRole("link", { name: "Sign out" }).click();
  await page.waitForLoadState();
  await inspect(page);
  await signIn(page, name, "Correct-Horse-8", () => totp(secret, 1));

  await go(page, "/account/data");
  await page.getByText("Delete my account", { exact: true }).click();
  await page.getByLabel("Password", { exact: true }).fill("Correct-Horse-8");
  await press(page.getByRole("main"), "Delete my account for ever");
  await page.getByRole("link", { name: "Sign in" }).first().waitFor();
  await expecting(page, 404, () => go(page, `/u/${name}`));
}

// maker: a project from the first word to the ZIP, and another's remix of it.
async function maker(page, other, title) {
  await go(page, "/projects/new");
  await inspect(page);
  await field(page, "Title").fill(title);
  await field(page, "Description").fill("It gives **light**.");
  await press(page.getByRole("main"), "Create draft");
  await page.waitForURL(/\/projects\/\d+\/edit/);
  const editor = page.url().split(/[?#]/)[0];
  await section(page, "Basics").getByLabel("Licence").selectOption("CC-BY-4.0");
  await field(section(page, "Basics"), "Tags").fill("lamp, paper");
  await press(section(page, "Basics"), "Save basics");
  await page.waitForLoadState();

  await section(page, "Pictures").getByLabel(/choose/i).setInputFiles(picture);
  await press(section(page, "Pictures"), "Upload picture");
  await section(page, "Pictures").getByRole("img").first().waitFor();
  const steps = section(page, "Steps");
  await go(page, editor);
  await field(steps, "Title").last().fill("Fold the paper");
  await field(steps, "What to do").last().fill("Fold it:\n\n```\nprint('fold')\n```");
  await press(steps, "Add step");
  await steps.getByText("Fold the paper").first().waitFor();
  await inspect(page);
  const parts = section(page, "Parts list");
  await field(parts, /^(Part|Item|Name)/).last().fill("Washi paper");
  await field(parts, "Price of one").last().fill("2.50");
  await press(parts, "Add part");
  await parts.getByText("Washi paper").first().waitFor();
  const files = section(page, "Files");
  await files.getByLabel(/choose/i).setInputFiles({ name: "lamp.py", mimeType: "text/x-python", buffer: Buffer.from("print('lamp')\n") });
  await press(files, "Upload file");
  await files.getByText("lamp.py").first().waitFor();
  await go(page, editor);
  await page.getByRole("main").getByRole("button", { name: /^Publish/ }).last().click();
  await page.waitForURL("**/p/**");
  const reader = page.url().split(/[?#]/)[0];
  await inspect(page);

  await go(other, reader);
  await other.getByRole("heading", { name: title, level: 1 }).waitFor();
  const [download] = await Promise.all([other.waitForEvent("download"), other.getByRole("link", { name: /ZIP/ }).first().click()]);
  if (!/\.zip$/.test(download.suggestedFilename()) || (await download.failure())) say(other.who, `the ZIP is ${download.suggestedFilename()} ${await download.failure()}`);
  await talk(page, other, reader);
  await other.getByRole("main").getByRole("button", { name: /^Remix/ }).first().click();
  await other.waitForURL(/\/projects\/\d+\/edit/);
  await go(other, reader);

  await go(page, editor);
  const end = page.getByRole("main");
  await end.getByText("Delete this project").first().click();
  const sure = end.getByLabel(/title/i).last();
  if (await sure.isVisible()) await sure.fill(title);
  for (const box of await section(page, "Publish").getByRole("checkbox").all()) await box.check();
  await press(end, "Delete project");
  await page.waitForURL((url) => !url.pathname.endsWith("/edit"));
  await expecting(page, 404, () => go(page, reader));
}

// talk: a like, a comment, a reply, an edit and a report.
async function talk(page, other, address) {
  await other.getByRole("main").getByRole("button", { name: /^Like \d/ }).first().click();
  await other.locator(".like[aria-pressed=true]").first().waitFor();
  if (other.scripts) await other.getByRole("status").filter({ hasText: "Liked, " }).waitFor();
  await field(other, "Write a comment").fill("It *works*: `print('lamp')`");
  await press(other, "Post comment");
  await other.getByText("It works: print('lamp')").first().waitFor();
  await inspect(other);

  await go(page, address);
  const comment = page.getByRole("article").filter({ hasText: "It works" });
  await comment.getByText("Reply", { exact: true }).click();
  await field(comment, /^Reply to/).fill("Thank you!");
  await press(comment, "Post reply");
  const reply = page.getByRole("article").filter({ hasText: "Thank you!" });
  await reply.waitFor();
  await reply.getByText("Edit", { exact: true }).click();
  await field(reply, "Your comment").fill("Thank you very much!");
  await press(reply, "Save");
  await page.getByText("Thank you very much!").first().waitFor();
  await comment.getByText("Report", { exact: true }).click();
  await press(comment, "Report to the moderators");
  await page.getByText("a moderator will look").waitFor();
  await inspect(page);
}

// admin: what somebody wrote is reported and hidden; a project comes to the front
// page and is taken off the site with a word to its author.
async function admin(page, author, reporter, title) {
  const talk = `/thread?url=${encodeURIComponent(title)}`;
  await go(author, talk);
  await field(author, "Write a comment").fill(`Buy ${title} now!`);
  await press(author, "Post comment");
  await author.getByText(`Buy ${title} now!`).first().waitFor();
  await go(reporter, talk);
  const seen = reporter.getByRole("article").filter({ hasText: title });
  await seen.getByText("Report", { exact: true }).click();
  await field(seen, /^What should the moderators know/).fill("It sells things");
  await press(seen, "Report to the moderators");
  await go(page, "/admin");
  await page.getByRole("main").getByRole("link", { name: /moderat|comments|look/i }).first().waitFor();
  await inspect(page);
  await go(page, "/admin/moderation");
  const item = page.getByRole("article").filter({ hasText: `Buy ${title} now!` });
  await item.getByText("It sells things").waitFor();
  await inspect(page);
  if (page.scripts) {
    await item.focus();
    await page.keyboard.press("h");
  } else await press(item, "Hide");
  await item.waitFor({ state: "detached" });
  await go(reporter, talk);
  same("what was hidden", await reporter.getByText(`Buy ${title} now!`).count(), 0);

  const api = author.context().request;
  const { id } = await (await api.post(`${setup.site}/api/projects`, { data: { title, description: "It shines." } })).json();
  await api.post(`${setup.site}/api/projects/${id}/publish`);
  await go(page, "/admin/projects");
  await page.getByLabel("Search").fill(title);
  await press(page.getByRole("search"), "Search");
  await page.getByRole("link", { name: title }).click();
  await inspect(page);
  await press(page.getByRole("main"), "Put it on the front page");
  await page.getByText("The project is on the front page.").waitFor();
  await go(reporter, "/");
  await section(reporter, "Worth building").getByRole("link", { name: title }).waitFor();
  await inspect(reporter);
  await go(page, `/admin/projects/${id}`);
  await field(page, "What the author is told").fill("The lamp gets hot.");
  await press(page.getByRole("main"), "Take it off the site");
  await page.getByText("The author has been told").waitFor();
  await inspect(page);
  await go(author, `/projects/${id}/edit`);
  await author.getByText("The lamp gets hot.").first().waitFor();
  await inspect(author);
  await api.delete(`${setup.site}/api/projects/${id}`);
}

// everywhere looks at every kind of page that links lead to. Pages whose
// addresses differ in names and numbers alone are of one kind.
async function everywhere(page, ...starts) {
  const kind = (url) => url.pathname.replace(/\/(u|tags|p)\/.*/, "/$1/…").replace(/\d+/g, "N") + [...url.searchParams.keys()].sort().join("&");
  const known = new Set();
  const waiting = [];
  const add = (links) => {
    for (const link of links) {
      const url = new URL(link, setup.site);
      url.hash = "";
      if (url.origin !== setup.site || /^\/(logout|api|feeds|static|profile_pictures|uploads|health|metrics|openapi)|\.(csv|json|xml|txt|zip)$|\/(download|export|original)$/.test(url.pathname) || known.has(kind(url))) continue;
      known.add(kind(url));
      waiting.push(url.href);
    }
  };
  for (add(starts); waiting.length; ) {
    await page.goto(waiting.shift());
    await inspect(page);
    add(await page.$$eval("a[href]:not([download])", (links) => links.map((a) => a.href)));
  }
  console.log(`${page.who}: ${known.size} kinds of pages`);
}

async function errors(page) {
  await expecting(page, 404, () => go(page, "/nowhere"));
  await inspect(page);
  await expecting(page, 422, () => go(page, "/projects?page=0"));
  await inspect(page);
  await expecting(page, 403, () => go(page, "/admin/moderation"));
  await inspect(page);
}

// keyboard: what a reader does without a mouse.
async function keyboard(page) {
  await go(page, "/projects");
  await page.keyboard.press("Tab");
  same("the first stop", await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  await page.keyboard.press("Enter");
  same("where it leads", await page.evaluate(() => document.activeElement.id), "main");
  await go(page, "/projects/1"); // which has two pictures
  await page.locator("[data-viewer] a").first().press("Enter");
  const viewer = page.getByRole("dialog", { name: "Pictures" });
  await viewer.getByRole("img").waitFor();
  const first = await viewer.getByRole("img").getAttribute("src");
  await page.keyboard.press("ArrowRight");
  if ((await viewer.getByRole("img").getAttribute("src")) === first) say(page.who, "the arrow key does not turn the picture");
  await inspect(page);
  await page.keyboard.press("Escape");
  await viewer.waitFor({ state: "hidden" });

  await page.getByLabel("I have Arduino Nano").press("Space");
  await page.reload();
  same("the part that was ticked off", await page.getByLabel("I have Arduino Nano").isChecked(), true);
  same("another part", await page.getByLabel("I have Castor ball").isChecked(), false);
}

// embedded: comments on a page of another origin with a strict policy.
async function embedded(page) {
  await page.goto(setup.page);
  const thread = page.locator("[data-chatter=comments]");
  await thread.getByText(/comment/i).first().waitFor();
  await inspect(page);
  await thread.getByRole("button", { name: /sign in/i }).first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel(/username/i).fill("mira");
  await dialog.getByLabel("Password").fill(password);
  await dialog.getByRole("button", { name: /sign in/i }).click();
  await field(thread, "Write a comment").fill("From the page itself");
  await thread.getByRole("button", { name: "Post comment" }).click();
  await thread.getByText("From the page itself").waitFor();
  await inspect(page);
}

async function as(name, options = {}) {
  const page = await visitor(browser, name, options);
  if (name === setup.admin) await signIn(page, name, setup.password);
  else if (name !== "visitor") await signIn(page, name, password);
  return page;
}

const phone = { size: "phone", scheme: "dark" };
// What changes what others look at goes first.
const changes = {
  account: async () => account(await as("visitor"), "robin"),
  "account without scripts": async () => account(await as("visitor", { ...phone, scripts: false }), "sam"),
  maker: async () => maker(await as("yuki", phone), await as("mira"), "Lamp of folds"),
  "maker without scripts": async () => maker(await as("ananya", { scripts: false }), await as("okello", { ...phone, scripts: false }), "Lamp of sheets"),
  "editor, writing": async () => writing(await as("hazel")),
  "editor, bringing": async () => bringing(await as("tobias_k")),
  "editor, building": async () => building(await as("elif")),
  "editor, uploading": async () => uploading(await as("noor", phone)),
  admin: async () => admin(await as(setup.admin), await as("linus77"), await as("sofia_m"), "Lamp of gold"),
  "admin without scripts": async () => admin(await as(setup.admin, { ...phone, scripts: false }), await as("pavel_n", phone), await as("grandpa_joe", { scripts: false }), "Lamp of brass"),
};
const looks = {
  keyboard: async () => keyboard(await as("visitor")),
  embed: async () => embedded(await as("visitor")),
  "errors for a member": async () => errors(await as("mira", phone)),
  "pages of an admin": async () => everywhere(await as(setup.admin), "/admin", "/"),
  "pages of a member": async () => everywhere(await as("mira"), "/account", "/projects/1/edit"),
  "pages of a member on a phone": async () => everywhere(await as("mira", phone), "/account", "/projects/1/edit"),
  "pages of a visitor on a phone": async () => everywhere(await as("visitor", phone), "/", "/login", "/register", "/reset-password"),
  "pages of an admin on a phone": async () => everywhere(await as(setup.admin, phone), "/admin"),
};

const only = process.argv[3];
async function walk(waiting) {
  while (waiting.length) {
    const [name, journey] = waiting.shift();
    const started = Date.now();
    try {
      await journey();
      console.log(`${name}: ${((Date.now() - started) / 1000).toFixed(1)} s`);
    } catch (error) {
      say(name, error.stack);
      if (setup.shots) for (const [i, context] of browser.contexts().entries()) for (const page of context.pages()) await page.screenshot({ path: `${setup.shots}/fault-${name.replace(/ /g, "-")}-${i}.png` }).catch(() => {});
    }
  }
}
for (const journeys of [changes, looks]) {
  const waiting = Object.entries(journeys).filter(([name]) => !only || name.startsWith(only));
  await Promise.all([walk(waiting), walk(waiting)]);
}
await browser.close();
process.exitCode = faults.length ? 1 : 0;
