// The editor as people use it who write much and lose nothing.
import { setup, go, expecting, inspect, same, say } from "./site.mjs";

const dot = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
const picture = (name) => ({ name, mimeType: "image/png", buffer: dot });

// until waits for what a page or the server says to become what it should.
async function until(what, read, want) {
  for (let tries = 0, got; ; tries++) {
    got = String(await read());
    if (got === want) return;
    if (tries === 80) throw new Error(`${what} is ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
    await new Promise((resolve) => setTimeout(resolve, 125));
  }
}

// draft makes a project, and returns its editor's address and what the API says
// of it.
async function draft(page, title) {
  await go(page, "/projects/new");
  await page.getByLabel("Title").fill(title);
  await page.getByRole("textbox", { name: "Description" }).fill("First words.");
  await page.getByRole("button", { name: "Create draft" }).click();
  await page.waitForURL(/\/projects\/\d+\/edit/);
  const editor = new URL(page.url()).pathname;
  const api = `${setup.site}/api${editor.replace("/edit", "")}`;
  const read = async () => (await page.context().request.get(api)).json();
  return { editor, api, read };
}

const focused = (page) => page.evaluate(() => document.activeElement.id);
const kept = (page) => page.evaluate(() => Object.keys(localStorage).length);
const titles = (read) => async () => (await read()).steps.map((step) => step.title);

// look inspects a page on which something was just done: what that moved has not
// jumped.
async function look(page) {
  await page.evaluate(() => (window.shifted = 0));
  await inspect(page);
}

// writing: texts save themselves, and outlive faults, conflicts, the network and
// the session.
export async function writing(page) {
  const { editor, api, read } = await draft(page, "Lamp that is typed");
  const description = page.locator("#basics-description");
  await description.fill("Words that **save** themselves.");
  await until("the draft", async () => (await read()).description, "Words that **save** themselves.");
  await until("what the browser keeps", () => kept(page), "0");

  await page.locator("#basics").getByRole("button", { name: "Preview" }).first().click();
  await page.locator("#basics .preview strong").waitFor();
  await description.selectText();
  await page.keyboard.press("Control+b");
  same("what is bold", await description.inputValue(), "**Words that **save** themselves.**");
  await look(page);

  // Changed elsewhere: both are there, and one chooses.
  await page.context().request.put(api, { data: { estimated_time: "2 days" } });
  await expecting(page, 412, async () => {
    await page.locator("#basics-estimated_time").fill("1 day");
    await page.locator("#basics .theirs").getByText("2 days").waitFor();
  });
  await look(page);
  await page.locator("#basics .theirs", { hasText: "2 days" }).getByRole("button", { name: "Use this instead of mine" }).click();
  await page.locator("#basics").getByRole("button", { name: "Save basics" }).click();
  await page.locator(".save-state.good").waitFor();
  same("the time", (await read()).estimated_time, "2 days");
  same("the focus", await focused(page), "basics-save");

  // The session ends.
  const cookies = await page.context().cookies();
  await page.context().clearCookies();
  await expecting(page, 401, async () => {
    await page.locator("#basics-background").fill("Typed by nobody");
    await page.getByRole("dialog").getByText("You are signed out").waitFor();
  });
  await look(page);
  await page.context().addCookies(cookies);
  await page.getByRole("button", { name: "I have signed in" }).click();
  await until("the background", async () => (await read()).background, "Typed by nobody");

  // What is published waits for its button, and for another day.
  await page.context().request.post(api + "/publish");
  await go(page, editor);
  await description.fill("Half a sen");
  await page.getByText("Unsaved changes").waitFor();
  await until("what the browser keeps", () => kept(page), "1");
  await go(page, editor);
  same("the text before", await description.inputValue(), "**Words that **save** themselves.**");
  await look(page);
  await page.getByRole("button", { name: "Take it over" }).click();
  same("the text", await description.inputValue(), "Half a sen");
  same("what readers see", (await read()).description, "**Words that **save** themselves.**");
  await page.getByRole("button", { name: "Save the basics" }).click();
  await until("what readers see", async () => (await read()).description, "Half a sen");
  await page.context().request.delete(api);
}

// uploading: files that were chosen when the session had ended wait for whoever
// chose them.
export async function uploading(page) {
  const { api, read } = await draft(page, "Lamp with pictures");
  const cookies = await page.context().cookies();
  await page.context().clearCookies();
  await expecting(page, 401, async () => {
    await page.locator("#images-new-image").setInputFiles(["a.png", "b.png", "c.png"].map(picture));
    await page.getByText("goes on by itself once you are signed in").nth(2).waitFor({ state: "attached" });
    await page.getByRole("dialog").getByText("You are signed out").waitFor();
  });
  await look(page);
  await page.context().addCookies(cookies);
  await page.getByRole("button", { name: "I have signed in" }).click();
  await page.locator("#images .picture-list > li").nth(2).waitFor();
  same("the pictures", (await read()).images.length, 3);
  await look(page);
  await page.context().request.delete(api);
}

// bringing: the ZIP of a project becomes another one, and what was being typed for
// a third is still there.
export async function bringing(page) {
  const { api } = await draft(page, "Lamp that is carried");
  const archive = { name: "lamp.zip", mimeType: "application/zip", buffer: await (await page.context().request.get(api + "/download")).body() };
  await go(page, "/projects/new");
  await page.getByLabel("Title").fill("Half a na");
  await until("what the browser keeps", () => kept(page), "1");
  const bring = async (file) => {
    await page.getByLabel("ZIP of a project").setInputFiles(file);
    await page.getByRole("button", { name: "Import it" }).click();
  };
  await expecting(page, 400, async () => {
    await bring({ ...archive, buffer: dot });
    await page.locator(".notice.bad").waitFor();
  });
  await look(page);
  await bring(archive);
  await page.waitForURL(/\/projects\/\d+\/edit/);
  same("the title", await page.locator("#basics-title").inputValue(), "Lamp that is carried");
  const brought = api.replace(/\d+$/, /\d+/.exec(new URL(page.url()).pathname)[0]);
  same("whether it is another one", brought !== api, true);

  await go(page, "/projects/new");
  await look(page);
  await page.getByRole("button", { name: "Take it over" }).click();
  same("the title", await page.getByLabel("Title").inputValue(), "Half a na");
  await page.getByLabel("Title").fill("");
  for (const project of [api, brought]) await page.context().request.delete(project);
}

// building: parts are added, changed and put in order without leaving the page.
export async function building(page) {
  const { api, read } = await draft(page, "Lamp that is built");
  await page.evaluate(() => (window.stayed = true));
  for (const title of ["Cut", "Glue", "Wire"]) {
    await page.locator("#steps-new-title").fill(title);
    await page.locator("#steps-new-content").fill(`${title} it.`);
    await page.locator("#steps").getByRole("button", { name: "Add step" }).click();
    await page.locator(`#steps li[data-name$="${title}"]`).waitFor();
    await until("the focus", () => focused(page), "steps-new-title");
  }
  // By keys.
  const row = page.locator('#steps li[data-name$="Cut"]');
  const handle = await row.getAttribute("id") + "-handle";
  await page.locator("#" + handle).press("ArrowDown");
  await until("the order", titles(read), "Glue,Cut,Wire");
  await until("what is said", () => page.locator("p.sr[role=status]").textContent(), "step 1, Cut: place 2 of 3");
  same("the focus", await focused(page), handle);
  // By its buttons.
  await row.getByRole("button", { name: /up$/ }).click();
  await until("the order", titles(read), "Cut,Glue,Wire");
  await until("the rows, when the section has come anew", () => page.locator("#steps .part-list > li").evaluateAll((rows) => rows.map((row) => row.dataset.name)), "step 1, Cut,step 2, Glue,step 3, Wire");
  // By pointer.
  const from = await page.locator('#steps li[data-name$="Wire"] .handle').boundingBox();
  const to = await page.locator('#steps li[data-name$="Cut"]').boundingBox();
  await page.mouse.move(from.x + 9, from.y + 9);
  await page.mouse.down();
  await page.mouse.move(from.x + 9, to.y + 30, { steps: 8 });
  await page.mouse.move(from.x + 9, to.y + 3, { steps: 4 });
  await until("the first row", () => page.locator("#steps .part-list > li").first().getAttribute("data-name"), "step 3, Wire");
  await page.mouse.up();
  await until("the order", titles(read), "Wire,Cut,Glue");

  // Pictures, with those that are refused before they are sent.
  await page.locator("#images-new-image").setInputFiles([picture("a.png"), picture("b.png"), { name: "c.exe", mimeType: "application/octet-stream", buffer: dot }]);
  await page.getByText("c.exe: files of this kind are not taken").first().waitFor();
  await page.locator("#images .picture-list > li").nth(1).waitFor();
  await page.locator("#images .picture-list > li").nth(1).locator(".handle").press("ArrowLeft");
  await until("the pictures", async () => (await read()).images.map((image) => image.original_filename), "b.png,a.png");

  // A step, with a picture of the gallery.
  await page.locator("#steps .part-list > li").first().getByRole("link", { name: /^Edit/ }).click();
  const form = page.locator("#steps .part-form");
  await form.getByRole("checkbox").first().check();
  await look(page);
  await form.getByRole("button", { name: "Save" }).click();
  await form.waitFor({ state: "detached" });
  same("pictures of the step", (await read()).steps[0].image_ids.length, 1);
  if (!/^steps-\d+-edit$/.test(await focused(page))) say(page.who, `after saving the focus is on ${await focused(page)}`);

  // A fault stands beside its field, and the rest stays.
  await page.locator("#bom-new-item_name").fill("Servo");
  await page.locator("#bom-new-price").fill("cheap");
  await expecting(page, 422, async () => {
    await page.locator("#bom").getByRole("button", { name: "Add part" }).click();
    await page.locator("#bom .fault").waitFor();
  });
  same("the focus", await focused(page), "bom-new-price");
  same("the name", await page.locator("#bom-new-item_name").inputValue(), "Servo");
  await page.locator("#bom-new-price").fill("2.50");
  await page.locator("#bom").getByRole("button", { name: "Add part" }).click();
  await page.locator("#bom .part-list").getByText("Servo").first().waitFor();

  // Components are found while they are typed.
  await page.context().request.post(`${setup.site}/api/components`, { data: { name: "Lamp driver LD1", description: "Drives lamps" } });
  const name = page.getByRole("combobox", { name: "Name" });
  await name.fill("lamp dri");
  await page.getByRole("option", { name: /LD1/ }).waitFor();
  await name.press("ArrowDown");
  await look(page);
  await name.press("Enter");
  same("the name", await name.inputValue(), "Lamp driver LD1");
  await name.press("Enter");
  await page.locator("#components .part-list").getByText("Lamp driver LD1").first().waitFor();
  same("the page", await page.evaluate(() => window.stayed), true);
  await page.context().request.delete(api);
}
