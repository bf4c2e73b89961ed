
-- Only one module of a container image at a time: their bind mounts meet at the same places.
family("condense_container")

-- The image of this module, else a copy of the same name.
local function from_environment(name, default)
  local value = os.getenv(name)
  return value and value ~= "" and value or default
end
local candidates = {
@CANDIDATES@
}
local image
for _, path in ipairs(candidates) do
  if isFile(path) then
    image = path
    break
  end
end
if not image and mode() == "load" then
  LmodError("ERROR: Cannot locate the singularity container file " .. @FILE@ ..
    ". One potential cause is that it may have been removed from the system.")
end
image = image or candidates[1]
setenv("SIF", image)
setenv("SIF@SUFFIX@", image)
setenv("RUNSCRIPTS", root .. "/runscripts")
setenv("RUNSCRIPTS@SUFFIX@", root .. "/runscripts")

local values = {
@VALUES@
}
local inside_path = { @PATH@ }
local binds = {
@BINDS@
}

-- Loading makes a plan of the variables that are free or shared with the user, and unloading
-- follows the plan, whatever has changed in between.
local plan_name = "CONDENSE_MODULE_@SUFFIX@"
local plan = os.getenv(plan_name)
local loads = mode() == "load" or not plan
local function is_set(name)
  local value = os.getenv(name)
  return value ~= nil and value ~= ""
end

local entries = {}
for _, bind in ipairs(binds) do
  if not loads or @KEEPS_MISSING@ or isFile(bind[1]) or isDir(bind[1]) then
    table.insert(entries, bind[2])
  end
end
table.insert(entries, root .. "/runscripts:/runscripts")
-- Unlike isFile, this follows links: a recipe of EasyBuild keeps user-software elsewhere.
local function leads_to(kind, path)
  return lfs.attributes(path, "mode") == kind
end
local packed = root .. "/user-software.squashfs"
local is_packed = leads_to("file", packed)
if loads and is_packed then
  table.insert(entries, packed .. ":/user-software:image-src=/")
elseif not loads or leads_to("directory", root .. "/user-software") then
  table.insert(entries, root .. "/user-software:/user-software")
end

if loads then
  -- Both variables add up, so the free one is taken. `append_path` would change how the values of
  -- others and `image-src=/` are written, so these are kept on a stack.
  local slot = "BIND"
  local is_taken = is_set("SINGULARITY_BIND") and is_set("SINGULARITY_BINDPATH")
  if is_set("SINGULARITY_BIND") and not is_taken then
    slot = "BINDPATH"
  end
  local kind = is_taken and "stack" or is_packed and "own" or "list"
  local steps = { kind .. ":SINGULARITY_" .. slot }
  if is_set("APPTAINER_" .. slot) then
    table.insert(steps, "stack:APPTAINER_" .. slot)
  end
  table.insert(steps, "path:SINGULARITYENV_PREPEND_PATH")
  if is_set("APPTAINERENV_PREPEND_PATH") then
    table.insert(steps, "path:APPTAINERENV_PREPEND_PATH")
  end
  for _, value in ipairs(values) do
    if os.getenv(value[1]) == nil then
      table.insert(steps, "value:" .. value[1])
    end
  end
  plan = table.concat(steps, " ")
end
setenv(plan_name, plan)

for kind, name in string.gmatch(plan, "(%a+):(%S+)") do
  if kind == "list" then
    for _, entry in ipairs(entries) do
      append_path(name, entry, ",")
    end
  elseif kind == "own" then
    if not loads then
      -- Tells Lmod how a list in this variable is split, if the module is loaded again at once.
      append_path(name, packed, ",")
    end
    setenv(name, table.concat(entries, ","))
  elseif kind == "stack" then
    local old = os.getenv(name) or ""
    -- The stack keeps older values after unloading, which are not those of today.
    if loads and os.getenv("__LMOD_STACK_" .. name) then
      pushenv(name, old)
    end
    pushenv(name, old .. "," .. table.concat(entries, ","))
  elseif kind == "path" then
    for index = #inside_path, 1, -1 do
      prepend_path(name, inside_path[index], ":")
    end
  else
    local found = ""
    for _, value in ipairs(values) do
      if value[1] == name then
        found = value[2]
      end
    end
    setenv(name, found)
  end
end
